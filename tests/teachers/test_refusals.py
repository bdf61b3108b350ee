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
        "This model's maximum context length is 4096 tokens. However, you requested 5000 max_tokens. Please reduce it.",
        "The response was filtered: your prompt about temperature triggered our content policy.",
        "unknown model: seedling-7b",
        "Unsupported language: seeds",
        "Upstream error: 400",
        "Extra seedlings are not supported",
        "You have exceeded the temperature of your quota",
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
