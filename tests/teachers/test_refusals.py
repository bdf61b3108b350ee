"""Servers that do not take every field of a request: their own words, and the key of params.yaml that helps."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from stages import params
from stages.errors import DataError
from stages.params import compose
from stages.teachers import refusals
from tests.fixtures.serving import asks, teacher

LIMIT = "set teacher.limit_field=max_completion_tokens"
OPENAI = {"type": "invalid_request_error", "param": "x", "code": "unsupported"}
EXTRA = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        (
            {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.", **OPENAI}},
            LIMIT,
        ),
        (
            {"error": {"message": "Unsupported value: 'temperature' does not support 0.7 with this model. "
            "Only the default (1) value is supported.", **OPENAI}},
            "set teacher.omit=[temperature]",
        ),
        ({"error": {"message": "Unsupported parameter: 'presence_penalty' is not supported with this model.", **OPENAI}},
         "set teacher.omit=[presence_penalty]"),
        ({"error": {"message": "invalid temperature: only 1 is allowed for this model"}}, "set teacher.omit=[temperature]"),
        ({"object": "error", "message": {"detail": [{**EXTRA, "loc": ["body", "seed"]}]}}, "set teacher.omit=[seed]"),
        ({"detail": [{**EXTRA, "loc": ["body", "seed"], "input": 4}]}, "set teacher.omit=[seed]"),
        ({"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'max_tokens')}]", "code": 400}, LIMIT),
        ({"detail": "body -> n\n  Extra inputs are not permitted\nbody -> presence_penalty\n  Extra inputs are not permitted"},
         "set teacher.omit=[presence_penalty]"),
        ({"error": "`top_p` must be > 0.0 and < 1.0", "error_type": "validation"}, "set teacher.omit=[top_p]"),
        ({"error": {"message": "`temperature` and `top_p` cannot both be specified for this model."}},
         "set teacher.omit=[top_p]"),
        ({"error": {"message": "deepseek-reasoner does not support the parameter `presence_penalty`", "param": None}},
         "set teacher.omit=[presence_penalty]"),
        ({"error": {"message": "gemini does not support parameters: ['presence_penalty'], for model=g. To drop these, set x"}},
         "set teacher.omit=[presence_penalty]"),
        ({"code": "Client specified an invalid argument", "error": "Argument not supported on this model: presencePenalty"},
         "set teacher.omit=[presence_penalty]"),
        ({"error": {"message": '{"type":"error","error":{"message":"`temperature` may only be set to 1 with thinking."}}'}},
         "set teacher.omit=[temperature]"),
        ({"error": {"message": "temperature: Input should be less than or equal to 1"}}, "set teacher.omit=[temperature]"),
        ({"error": {"message": "Invalid parameter", "param": "seed"}}, "set teacher.omit=[seed]"),
        ({"message": "Malformed input request: #: extraneous key [seed] is not permitted"}, "set teacher.omit=[seed]"),
        ({"message": "unknown field: parameter 'seed' is not a valid field"}, "set teacher.omit=[seed]"),
        ({"error": {"message": "property 'top_p' is unsupported", "param": "top_p"}}, "set teacher.omit=[top_p]"),
        ({"error": {"code": "1214", "message": "temperature参数非法，请检查文档"}}, "set teacher.omit=[temperature]"),
        ({"error": {"message": "该模型不支持参数 max_tokens，请使用 max_completion_tokens"}}, LIMIT),
        ([{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"seed\": Cannot find field."}}],
         "set teacher.omit=[seed]"),
        ("Unrecognized request argument supplied: seed", "set teacher.omit=[seed]"),
        ({"error": {"message": "this model is not supported MaxTokens, please use MaxCompletionTokens"}}, LIMIT),
        ({"error": {"message": "max_tokens has been removed, use max_completion_tokens"}}, LIMIT),
        ({"error": {"message": "deserialize the JSON body: unknown field `seed`, expected one of `temperature`, `top_p`"}},
         "set teacher.omit=[seed]"),
        ({"error": {"message": "No endpoints found that support the provided parameters: seed. To learn more, visit x"}},
         "set teacher.omit=[seed]"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps({"error": {"message":
          "Unsupported value: 'temperature' does not support 0.7 with this model."}}), "provider_name": "OpenAI"}}},
         "set teacher.omit=[temperature]"),
        ([{"error": {"code": 400, "message": "Penalty is not enabled for models/gemini-2.5-flash-lite"}}],
         "set teacher.omit=[presence_penalty]"),
        ({"error": {"message": "Unable to submit: it has a presencePenalty value of 2.0 but the supported range is -2 to 2"}},
         "set teacher.omit=[presence_penalty]"),
        ({"error": {"message": "temperature: range: 0..1"}}, "set teacher.omit=[temperature]"),
        ({"message": "Value '2.0' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must be small"},
         "set teacher.omit=[temperature]"),
        ({"error": {"message": "Presence penalty and frequency penalty are mutually exclusive"}},
         "set teacher.omit=[presence_penalty]"),
        ({"error": {"message": "temperature is not available for this model"}}, "set teacher.omit=[temperature]"),
        ({"error": {"message": "Parameter temperature is disabled for reasoning models"}}, "set teacher.omit=[temperature]"),
        ({"error": {"message": "'seed' is not a valid parameter"}}, "set teacher.omit=[seed]"),
        ({"error": {"message": "seed is not recognized"}}, "set teacher.omit=[seed]"),
        ({"error": {"message": "Model is incompatible with request argument supplied: temperature, top_p"}},
         "set teacher.omit=[temperature,top_p]"),
        ({"error": {"message": "property 'seed' is unsupported"}}, "set teacher.omit=[seed]"),
        ({"error": "Invalid parameter: 'seed' is not supported"}, "set teacher.omit=[seed]"),
        ({"error": {"message": 'json: unknown field "seed"'}}, "set teacher.omit=[seed]"),
        ({"error": {"message": "API 调用参数有误，请检查文档。temperature 取值范围 (0,1)"}}, "set teacher.omit=[temperature]"),
    ],
)  # fmt: skip
def test_refused_field_names_its_key(server: SimpleNamespace, body: Any, remedy: str) -> None:
    sent = body if isinstance(body, str) else json.dumps(body)
    server.trouble = {f"question {n}": [(400, sent, {})] for n in range(3)}
    with pytest.raises(
        DataError, match=r"3 requests were refused and 0 answered \(Error code: 400 - \S.*; set teacher"
    ) as error:
        teacher(server, retries=0).answer(asks(3))
    assert f"; {remedy});" in str(error.value)


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens.",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "max_tokens: 8193 > 4096, which is the maximum allowed number of output tokens for m",
        "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens and 512 `max_new_tokens`",
        "it has a maxOutputTokens value of 99999 but the supported range is from 1 to 8193",
    ],
)
def test_limit_above_the_servers_is_to_be_lowered(message: str) -> None:
    options: Any = SimpleNamespace(limit_field="max_tokens", omit=[])
    assert refusals.remedy(message, options) == "lower max_new_tokens in synthesis"


def test_field_refused_with_404_names_no_address(server: SimpleNamespace) -> None:
    server.trouble["question 0"] = [(404, json.dumps({"error": {"message": "No endpoints that support: seed"}}), {})]
    with pytest.raises(DataError, match=r"that support: seed; set teacher\.omit=\[seed\]\); every answer"):
        teacher(server, retries=0).answer(asks(1))


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 max_tokens. Please reduce it.",
        "The response was filtered: your prompt about temperature triggered our content policy.",
        "unknown model: seedling-7b",
        "Unsupported language: seeds",
        "Upstream error: 400",
        "Extra seedlings are not supported",
        "You have exceeded the temperature of your quota",
        "A penalty for late payment is not allowed here",
        "too long",
        "",
    ],
)
def test_refusal_for_another_reason_names_no_key(server: SimpleNamespace, message: str) -> None:
    server.trouble = {f"question {n}": [(400, json.dumps({"error": {"message": message}}), {})] for n in range(3)}
    with pytest.raises(DataError) as error:
        teacher(server, retries=0).answer(asks(3))
    assert message in str(error.value) and "teacher." not in str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "a\\n b", "code": 1}}', "a b"),
        ('{"error": "a"}', "a"),
        ('{"message": "a"}', "a"),
        ('{"detail": "a"}', "a"),
        ('{"error": {"detail": "a"}}', "a"),
        ('{"error": {"message": "a", "param": "seed"}}', "a (param: seed)"),
        ('{"error": {"message": "no seed", "param": "seed"}}', "no seed"),
        ('{"error": {"message": "a", "param": ["seed"]}}', "a"),
        ('{"code": 7}', "code: 7"),
        ('[{"error": {"code": 7, "message": "a"}}]', "a"),
        ('{"error": {"message": "a", "metadata": {"raw": "b", "provider_name": "c"}}}', "a: b"),
        ('{"error": {"message": "a", "metadata": {"raw": {}}}}', "a"),
        ('["a", {"b": [1, null]}]', "a b: 1 None"),
        ('{"detail": [{"loc": ["body", "seed"], "msg": "no"}]}', "loc: body seed, msg: no"),
        ("<html>a</html>", "<html>a</html>"),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
)
def test_words_of_a_server_are_found(body: str, words: str) -> None:
    assert refusals.words(body) == words


def test_words_of_a_server_are_cut(server: SimpleNamespace) -> None:
    server.trouble = {"question 0": [(422, json.dumps({"detail": "x" * 10_000}), {})]}
    with pytest.raises(DataError) as error:
        teacher(server, retries=0).answer(asks(1))
    assert len(str(error.value)) < 500


def test_further_field_is_added_to_those_left_out(server: SimpleNamespace) -> None:
    server.trouble = {"question 0": [(422, '{"detail": "unknown field temperature"}', {})]}
    with pytest.raises(DataError, match=r"set teacher\.omit=\[seed,temperature\]"):
        teacher(server, retries=0, omit=["seed"]).answer(asks(1))


def test_limit_goes_into_the_named_field(server: SimpleNamespace) -> None:
    teacher(server, limit_field="max_completion_tokens").answer(asks(1))
    (body,) = server.seen
    assert body["max_completion_tokens"] == 20 and "max_tokens" not in body


def test_server_without_the_new_field_is_sent_back(server: SimpleNamespace) -> None:
    server.trouble = {"question 0": [(400, '{"message": "max_completion_tokens: Extra inputs are not permitted"}', {})]}
    with pytest.raises(DataError, match=r"set teacher\.limit_field=max_tokens\)"):
        teacher(server, retries=0, limit_field="max_completion_tokens").answer(asks(1))


def test_options_left_out_are_not_sent(server: SimpleNamespace) -> None:
    teacher(server, omit=["seed", "temperature"]).answer(asks(1))
    (body,) = server.seen
    assert body.keys() == {"model", "messages", "top_p", "presence_penalty", "max_tokens"}


def test_options_left_out_make_another_request(server: SimpleNamespace) -> None:
    """The name of the field for the limit changes no answer; an option that is left out does."""
    teacher(server).answer(asks(1))
    for changed, sent in (({"limit_field": "max_completion_tokens"}, 1), ({"omit": ["seed"]}, 2), ({"omit": ["seed"]}, 2)):
        teacher(server, **changed).answer(asks(1))
        assert len(server.seen) == sent


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("teacher.omit=[max_tokens]", "teacher.omit.0 = 'max_tokens': input should be 'seed', 'temperature', "),
        ("teacher.omit=seed", r"teacher\.omit = 'seed': input should be a valid list; write \['seed'\]"),
        ("teacher.limit_field=max_new_tokens", "teacher.limit_field = 'max_new_tokens': input should be 'max_tokens' or "),
    ],
)
def test_unknown_field_is_refused(override: str, line: str) -> None:
    with pytest.raises(DataError, match=line):
        params.check(compose.composed("teacher=openai", "teacher.model=m", override))
