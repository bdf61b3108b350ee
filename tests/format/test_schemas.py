"""The schema of an extraction task: its fields, their types, and where answers cannot be kept to it."""

import json

import pytest

from stages.errors import DataError
from stages.format.schemas import ENOUGH, lacking, require, schemas, warn
from stages.records import Example, Message


def example(reference: str, kind: str = "extraction", dataset: str = "", reasoning: str = "") -> Example:
    answer = Message(role="assistant", content=reference, reasoning=reasoning)
    return Example(kind=kind, messages=(Message(role="user", content="text"), answer), source="s", dataset=dataset)


def test_schema_has_the_fields_of_all_references_in_order():
    references = [
        '{"name": "Ann", "tags": ["x"], "paid": null}',
        '{"name": null, "tags": [], "paid": true}',
        '{"name": "Bo", "tags": [], "paid": 1.5}',
    ]
    found = schemas(map(example, references))[""]
    assert list(found["properties"]) == found["required"] == ["name", "tags", "paid"]
    assert [field["type"] for field in found["properties"].values()] == [
        ["string", "null"],
        ["array", "null"],
        ["boolean", "number", "null"],
    ]
    assert not found["additionalProperties"]


def test_field_that_some_references_lack_may_be_left_out():
    found = schemas(map(example, ['{"a": 1, "b": 2}', '{"b": 2, "c": null}']))[""]
    assert (list(found["properties"]), found["required"]) == (["a", "b", "c"], ["b"])
    assert found["properties"]["c"] == {"type": ["string", "null"]}


def test_each_data_set_of_objects_has_a_schema_of_its_own():
    rows = [example('{"a": 1}', dataset="bills"), example("yes", "classification", "mails"), example('{"b": 1}', dataset="cvs")]
    assert {name: list(found["properties"]) for name, found in schemas(rows).items()} == {"bills": ["a"], "cvs": ["b"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (example("yes", "text"), "no answer of the training rows is a JSON object"),
        (example('{"a": 1}', reasoning="Let me see."), "thoughts precede the answers"),
    ],
)
def test_json_is_refused_where_no_answer_can_be_an_object(row, message):
    require("none", schemas([row]), [row], [row])
    for constrain in ("json", "copied"):
        with pytest.raises(DataError, match=f"^predict.constrain = {constrain}: {message}"):
            require(constrain, schemas([row]), [row], [row])


def test_answers_that_no_copy_can_give_are_counted(capsys):
    rows = [example('{"a": "text"}'), example('{"a": "Text"}'), example("Text", "text")]
    warn("json", schemas(rows), rows)
    assert not capsys.readouterr().err
    warn("copied", schemas(rows), rows)
    assert capsys.readouterr().err.startswith("warning: predict.constrain = copied: 1 answers of the validation and test rows")


def test_copying_is_refused_where_a_training_answer_has_other_words():
    rows = [example('{"a": "text", "n": 7}'), example('{"a": null, "n": 7}'), example('{"a": "Text", "n": 7}')]
    require("json", schemas(rows), rows, rows)
    require("copied", schemas(rows), rows[:2], rows)
    with pytest.raises(DataError, match=f'^predict.constrain = copied: 1 of 3 .* such as "a" of {rows[2].id}; set it to json$'):
        require("copied", schemas(rows), rows, rows)


FORMS = {
    "e-mail addresses": (
        ["ann@example.com", "jürgen.o'neil+x@müller-söhne.co.uk"],
        ["ann", "a@b", "ann@example.com,", "ann @example.com"],
    ),
    "dates": (["2024-02-29", "1999-12-31"], ["29.02.2024", "2024-02-29T10:00", "2024-2-29"]),
    "URLs": (["https://example.org", "http://a.b/c?d=e#f"], ["example.org", "https://example.org or so", "ftp://example.org"]),
}


@pytest.mark.parametrize(("forms", "others"), FORMS.values(), ids=FORMS)
def test_form_of_all_texts_of_a_field_is_in_the_schema(forms, others):
    def field(texts):
        return schemas(example(json.dumps({"a": text})) for text in [None, *texts])[""]["properties"]["a"]

    whole = (forms * ENOUGH)[:ENOUGH]
    pattern = field(whole)["pattern"]
    assert field(whole)["type"] == ["string", "null"]
    assert "pattern" not in field(whole[1:])  # too few to know
    for other in others:
        assert "pattern" not in field([*whole, other])
        row, schema = example(json.dumps({"a": other})), {"properties": {"a": field(whole)}, "required": ["a"]}
        assert lacking(row, schema, copied=False) == ""
        assert lacking(row, schema, copied=True) == "a text of another form than the training rows have"
    assert pattern.startswith("^") and pattern.endswith("$")


def test_answers_of_another_form_are_counted(capsys):
    found = schemas(example(json.dumps({"to\x1b": f"{number}@text.com"})) for number in range(ENOUGH))
    rows = [Example(**example('{"to\\u001b": "text"}').model_dump()), example('{"to\\u001b": null}')]
    warn("json", found, rows)
    assert capsys.readouterr() == ("", "")
    warn("copied", found, rows)
    printed = capsys.readouterr()
    assert printed.out == "to\\x1b: all training answers have an e-mail address or null, so only such parts are copied\n"
    assert printed.err == (
        "warning: predict.constrain = copied: 1 answers of the validation and test rows have a text that has another form than "
        "in all training answers, so no system can give them\n"
    )
