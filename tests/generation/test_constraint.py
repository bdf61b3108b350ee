"""Constrained decoding: whatever the model prefers, an answer that ends is a JSON object with the task's fields."""

import json
from functools import partial

import pytest

from stages.generation import constraint
from stages.models.loading import LanguageModel
from stages.text.copied import is_copy
from stages.text.forms import FORMS

pytestmark = pytest.mark.model

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "tags": {"type": ["array", "null"]},
        "paid": {"type": ["boolean", "number", "null"]},
    },
    "required": ["name", "tags", "paid"],
    "additionalProperties": False,
}
SOURCE = 'Dear "Änn", Jo\'s bill\nis 2.50 € too high.'


@pytest.fixture
def kept_to(tuned_fp32, tokenizer):
    return partial(constraint.json_only, LanguageModel(tuned_fp32, tokenizer))


def decode(kept_to, tokenizer, logits_of, texts):
    """Return the answer to each text: the tokens chosen up to the end token, at most as many as the limit."""
    import torch

    written, choose = torch.zeros(len(texts), 0, dtype=torch.long), kept_to.choose(texts)
    for step in range(kept_to.limit):
        tokens = choose(logits_of(step), written, torch.arange(len(texts)))
        written = torch.cat([written, tokens[:, None]], dim=1)
    return [tokenizer.decode(row[: row.index(kept_to.stop)] if kept_to.stop in row else row) for row in written.tolist()]


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(("limit", "bias"), [(400, 4.0), (60, 0.0), (60, -9.0), (150, -9.0)])  # -9: never closed by itself
def test_random_logits_give_objects_with_the_fields(kept_to, tuned_fp32, tokenizer, limit, bias, copied):
    import torch

    width = tuned_fp32.get_output_embeddings().weight.shape[0]
    draw, closing = torch.Generator().manual_seed(0), tokenizer.encode('"]}')
    biases = torch.zeros(width).index_fill(0, torch.tensor(closing), bias)
    kept = kept_to(SCHEMA, limit, copied)
    for _ in range(2):  # the matchers of one batch do not outlive it
        texts = decode(kept, tokenizer, lambda _: torch.randn(8, width, generator=draw) + biases, [SOURCE] * 8)
        found = [json.loads(text) for text in texts]
        assert all(list(each) == ["name", "tags", "paid"] for each in found)
        assert {type(each["name"]) for each in found} <= {str, type(None)}
        assert all(each["name"] is None or is_copy(each["name"], SOURCE) for each in found) or not copied


@pytest.mark.parametrize("name", ["a very long name of an optional field", "ein sehr langer Name für ein Feld"])
def test_long_words_and_names_are_ended_in_time(kept_to, tuned_fp32, tokenizer, name):
    import torch

    schema = SCHEMA | {"properties": {"a": {"type": ["string", "null"]}, name: {"type": ["string", "null"]}}, "required": ["a"]}
    word, width = "0123456789abcdef" * 4, tuned_fp32.get_output_embeddings().weight.shape[0]
    for opening in ('{"a": "' + word[0], '{"a": null, "' + name[0]):
        ids = torch.tensor(tokenizer.encode(opening))
        preferred = torch.nn.functional.one_hot(torch.cat([ids, torch.zeros(200, dtype=torch.long)]), width).float()
        for limit in range(20, 140, 12):
            given = decode(kept_to(schema, limit, True), tokenizer, lambda step, logits=preferred: logits[[step]], [word])
            assert json.loads(given[0])


FORMED = SCHEMA | {
    "properties": {"to": {"type": ["string", "null"], "pattern": FORMS["an e-mail address"]}},
    "required": ["to"],
}


@pytest.mark.parametrize(
    ("source", "copies"),
    [
        ("Write to jo.änn@exämple.de/bo@x.org,\n or a@b.", {"jo.änn@exämple.de", "änn@exämple.de", "bo@x.org"}),
        ("I have no mailbox @home.", set()),
        ("", set()),
    ],
)
def test_copy_of_a_field_has_its_form_or_is_null(kept_to, tuned_fp32, tokenizer, source, copies):
    import torch

    draw, width = torch.Generator().manual_seed(0), tuned_fp32.get_output_embeddings().weight.shape[0]
    against = torch.zeros(width).index_fill(0, torch.tensor(tokenizer.encode("null")), -9.0)
    kept, found = kept_to(FORMED, 90, True), set()
    for _ in range(4):
        texts = decode(kept, tokenizer, lambda _: torch.randn(8, width, generator=draw) + against, [source] * 8)
        found |= {json.loads(text)["to"] for text in texts}
    assert found - {None} == copies
    assert copies or found == {None}


@pytest.mark.parametrize(
    ("form", "source", "copies"),
    [
        ("a date", "From 2024-02-29 to 2024-03-01, not 1.4.2024.", {"2024-02-29", "2024-03-01"}),
        ("a URL", "See https://a.org/b?c=d and http://x.de but not ftp://y.", {"https://a.org/b?c=d", "http://x.de"}),
    ],
)
def test_each_form_can_be_copied(kept_to, tokenizer, form, source, copies):
    schema = FORMED | {"properties": {"to": {"type": ["string", "null"], "pattern": FORMS[form]}}}
    matcher = partial(constraint.LLMatcher, kept_to(schema, 90, True).tokenizer, kept_to(schema, 90, True).grammar(source))
    for text in copies:
        whole = tokenizer.encode(json.dumps({"to": text}))
        assert matcher().validate_tokens(whole) == len(whole)
    for text in ("1.4.2024", "See", "ftp://y", ""):
        whole = tokenizer.encode(json.dumps({"to": text}))
        assert matcher().validate_tokens(whole) < len(whole)


@pytest.mark.parametrize("copied", [False, True])
def test_text_of_a_form_is_ended_in_time(kept_to, tuned_fp32, tokenizer, copied):
    import torch

    address, width = "0123456789abcdef." * 3 + "@example.org", tuned_fp32.get_output_embeddings().weight.shape[0]
    ids = torch.tensor(tokenizer.encode('{"to": "' + address[:2]))
    preferred = torch.nn.functional.one_hot(torch.cat([ids, torch.zeros(300, dtype=torch.long)]), width).float()
    for limit in range(20, 200, 12):
        text = decode(kept_to(FORMED, limit, copied), tokenizer, lambda step: preferred[[step]], [address])[0]
        assert json.loads(text)["to"] in (None, address, *[address[17 * n :] for n in range(3)]) or not copied


def test_a_limit_below_the_shortest_object_is_warned_of(kept_to, capsys):
    kept_to(SCHEMA, 20)
    assert capsys.readouterr().err.startswith(
        "warning: predict.max_new_tokens = 20: an object with these fields has more tokens"
    )
    kept_to(SCHEMA, 60)
    assert not capsys.readouterr().err


def test_object_too_large_for_the_limit_is_left_alone(kept_to, tuned_fp32, tokenizer):
    import torch

    text = '{"name": "A", "ta'
    ids, width = tokenizer.encode(text), tuned_fp32.get_output_embeddings().weight.shape[0]
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids), width).float()
    assert decode(kept_to(SCHEMA, len(ids)), tokenizer, lambda step: one_hot[[step]], [""]) == [text]


@pytest.mark.parametrize(
    "text", ['{"name": "Änn \\n\\"x\\"", "tags": [], "paid": null}', '{\n  "name": null,\n  "tags": ["y"],\n  "paid": 2\n}']
)
@pytest.mark.parametrize("copied", [False, True])
def test_text_that_fits_stays_the_same(kept_to, tuned_fp32, tokenizer, text, copied):
    import torch

    ids = tokenizer.encode(text)
    kept, width = kept_to(SCHEMA, len(ids) + 1, copied), tuned_fp32.get_output_embeddings().weight.shape[0]
    one_hot = torch.nn.functional.one_hot(torch.tensor([*ids, kept.stop]), width).float()
    given = 'He is Änn \n"x", he says.'
    assert decode(kept, tokenizer, lambda step: one_hot[[step, step]], [given, given]) == [text, text]


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("jo.ann@x.org", True),
        ("jo.ann@x", True),
        ("o.ann@x.org", False),  # begins within a word
        ("jo.anna@x.org", False),
        ("Two lines", True),  # with single spaces
        ("Two\nlines", True),
        ("李", True),  # a character of writing without spaces
        ("王", False),
        ("", True),
        (" lines", False),  # as after a quotation mark that was not escaped
        ("Write to ", False),
    ],
)
def test_copied_texts_are_runs_of_words_of_their_prompt(kept_to, tokenizer, name, possible):
    from llguidance import LLMatcher

    kept, given = kept_to(SCHEMA, 400, True), "Write to jo.ann@x.org.\nTwo\n lines, 李明"
    given = given.replace("\n lines", "\nlines")
    ids = tokenizer.encode(json.dumps({"name": name, "tags": None, "paid": 1}, ensure_ascii=False))
    matcher = LLMatcher(kept.tokenizer, kept.grammar(given))
    assert (matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()) is possible is is_copy(name, given)


@pytest.mark.parametrize(
    ("text", "possible"),
    [("{}", False), ('{"a": 1}', True), ('{"a": 1, "c": "x"}', True), ('{"b": "x", "a": 1}', True), ('{"b": "x"}', False)],
)
def test_optional_fields_may_be_left_out_of_copies(kept_to, tokenizer, text, possible):
    from llguidance import LLMatcher

    fields = {"b": ["string", "null"], "a": ["number", "null"], "c": ["string", "null"]}
    schema = {"type": "object", "properties": {key: {"type": types} for key, types in fields.items()}, "required": ["a"]}
    kept = kept_to(schema, 400, True)
    matcher, ids = LLMatcher(kept.tokenizer, kept.grammar("x")), tokenizer.encode(text)
    assert (matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()) is possible


def test_rows_answered_one_at_a_time_copy_from_their_own_prompts(kept_to, tuned_fp32, tokenizer):
    import torch

    kept, width = kept_to(SCHEMA, 400, True), tuned_fp32.get_output_embeddings().weight.shape[0]
    choose, begun = kept.choose(["one", "two"]), tokenizer.encode('{"name": "')
    for word in ("one", "two"):
        for end in range(len(begun) + 1):
            wanted = torch.tensor(begun[end] if end < len(begun) else tokenizer.encode(word)[0])
            token = choose(
                torch.zeros(1, width).index_fill(1, wanted, 1.0), torch.tensor([begun[:end]]).long(), torch.arange(1)
            )
            assert token == wanted


def test_rows_that_left_the_batch_keep_their_grammar(kept_to, tuned_fp32, tokenizer):
    import torch

    width, ids = tuned_fp32.get_output_embeddings().weight.shape[0], tokenizer.encode('{"name"')
    flat, choose = torch.zeros(1, width), kept_to(SCHEMA, 400).choose([""] * 3)
    choose(flat.expand(3, -1), torch.zeros(3, 0, dtype=torch.long), torch.arange(3))
    for end in range(1, len(ids)):
        token = choose(flat.index_fill(1, torch.tensor(ids[end]), 1.0), torch.tensor([ids[:end]]), torch.tensor([2]))
        assert token.tolist() == [ids[end]]
