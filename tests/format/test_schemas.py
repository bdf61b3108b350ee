"""The schema of an extraction task: its fields, their types, and where answers cannot be kept to it."""

import pytest

from stages.errors import DataError
from stages.format.schemas import require, schemas, warn
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
    warn("json", rows)
    assert not capsys.readouterr().err
    warn("copied", rows)
    assert capsys.readouterr().err.startswith("warning: predict.constrain = copied: 1 answers of the validation and test rows")


def test_copying_is_refused_where_a_training_answer_has_other_words():
    rows = [example('{"a": "text", "n": 7}'), example('{"a": null, "n": 7}'), example('{"a": "Text", "n": 7}')]
    require("json", schemas(rows), rows, rows)
    require("copied", schemas(rows), rows[:2], rows)
    with pytest.raises(DataError, match=f'^predict.constrain = copied: 1 of 3 .* such as "a" of {rows[2].id}; set it to json$'):
        require("copied", schemas(rows), rows, rows)
