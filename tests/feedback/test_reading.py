"""Files of feedback: forms, columns, exports of other programs, and values that are refused with their place."""

import json
import re
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from stages.errors import DataError
from stages.feedback import reading
from stages.feedback.records import Answer, Feedback
from stages.params import compose
from tests.feedback.conftest import answer, read, settings

ULM = answer()
ROWS = [
    {"prediction_id": ULM.id, "vote": "up", "correction": "", "comment": 'a, "b"\nc', "user": "7", "at": "2026-11-30"},
    {"prediction_id": ULM.id, "vote": "", "correction": "{{ 7*7 }} =1+1 <b>", "comment": "", "user": "8", "at": ""},
]


def as_table(separator: str) -> str:
    cells = [[*ROWS[0]], *([*row.values()] for row in ROWS)]
    quoted = (['"{}"'.format(cell.replace('"', '""')) for cell in row] for row in cells)
    return "\n".join(separator.join(row) for row in quoted)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.csv", as_table(",")),
        ("f.tsv", as_table("\t")),
        ("f.json", json.dumps(ROWS)),
        ("f.jsonl", "\n".join(json.dumps({key: value or None for key, value in row.items()}) for row in ROWS)),
    ],
)
def test_all_forms_hold_the_same_rows(run, name: str, text: str) -> None:
    run(text, ULM, name=name)
    given = read("feedback", Feedback)
    assert [one.model_dump(include={"vote", "correction", "comment", "user", "at"}) for one in given] == [
        {key: value for key, value in row.items() if key != "prediction_id"} for row in ROWS
    ]


EXPORTS = {
    "langfuse": (
        {"prediction_id": "metadata.prediction_id", "user": "metadata.user", "vote": "value", "comment": "comment"},
        {"id": "s1", "trace_id": "t", "name": "user-feedback", "value": 0, "source": "API", "comment": "no", "timestamp": "T",
         "data_type": "BOOLEAN", "string_value": "False", "metadata": {"prediction_id": ULM.id, "user": "u"}},
    ),
    "langsmith": (
        {"prediction_id": "feedback_source.metadata.prediction_id", "vote": "score", "correction": "correction.output"},
        {"id": "f1", "run_id": "r", "key": "user-feedback", "score": 0.0, "value": None, "comment": "no",
         "correction": {"output": "In Germany."}, "feedback_source": {"type": "api", "metadata": {"prediction_id": ULM.id}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", EXPORTS)
def test_columns_of_other_programs_are_mapped(run, capsys, program: str) -> None:
    columns, row = EXPORTS[program]
    assert run([row], ULM, columns=columns)["joined"] == 1
    (given,) = read("feedback", Feedback)
    assert given.says == "down"
    assert given.correction == ("In Germany." if "correction" in columns else "")
    read_not = capsys.readouterr().err
    assert "columns that are not read" in read_not
    assert not re.search(r"\b(metadata|feedback_source)\b", read_not)


GUIDE = (compose.ROOT / "docs/guides/feedback.md").read_text(encoding="utf-8")


def flattened(program: str, given: str, monkeypatch) -> str:
    """Return what a program of the guide prints for an export."""
    (code,) = re.findall(rf"```python\n(# python {program}\.py.*?)```", GUIDE, re.DOTALL)
    printed = StringIO()
    monkeypatch.setattr(sys, "stdin", StringIO(given))
    with redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue()


def test_program_for_label_studio_makes_rows(run, monkeypatch) -> None:
    done = {"id": 9, "completed_by": 3, "created_at": "T", "was_cancelled": False, "result": [
        {"from_name": "vote", "to_name": "answer", "type": "choices", "value": {"choices": ["down"]}},
        {"from_name": "correction", "to_name": "answer", "type": "textarea", "value": {"text": ["In Germany."]}},
    ]}  # fmt: skip
    task = {"id": 1, "data": {"prediction_id": ULM.id}, "annotations": [done, done | {"was_cancelled": True}]}
    assert run(flattened("label_studio", json.dumps([task]), monkeypatch), ULM)["joined"] == 1
    (given,) = read("feedback", Feedback)
    assert (given.vote, given.correction, given.user, given.at) == ("down", "In Germany.", "3", "T")


def test_program_for_opentelemetry_makes_rows(run, monkeypatch) -> None:
    values = {"gen_ai.response.id": {"stringValue": ULM.id}, "gen_ai.evaluation.score.value": {"doubleValue": 0}}
    values |= {"gen_ai.evaluation.explanation": {"stringValue": "no"}}
    event = {"timeUnixNano": "17", "eventName": "gen_ai.evaluation.result"}
    event |= {"attributes": [{"key": key, "value": value} for key, value in values.items()]}
    line = json.dumps({"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [event, {"attributes": []}]}]}]})
    columns = YAML(typ="safe").load(GUIDE.split("```yaml\n")[-1].split("```")[0])["columns"]
    run(flattened("otel", line, monkeypatch), ULM, columns=columns)
    (given,) = read("feedback", Feedback)
    assert (given.vote, given.comment, given.at) == ("down", "no", "17")


@pytest.mark.parametrize(
    ("name", "text", "fields", "reason"),
    [
        ("f.csv", "prediction_id,vote\na,maybe\n", {}, "f.csv:2: 'vote' is 'maybe', neither in feedback.up nor in"),
        ("f.csv", "id,vote\na,up\n", {}, "f.csv: no column prediction_id, and not both input and output; name the columns in"),
        ("f.csv", "prediction_id,score\na,1\n", {}, "f.csv: no column vote or correction; name the columns in"),
        ("f.csv", "prediction_id,vote,vote\na,up,down\n", {}, "f.csv:1: column 'vote' occurs more than once"),
        ("f.csv", "prediction_id,vote\na\n", {}, "f.csv:2: 1 cells, but the header has 2"),
        ("f.csv", "id,Vote\na,up\n", {"columns": {"prediction_id": "id", "vote": "vote"}}, "f.csv:1: no column 'vote'"),
        ("f.jsonl", '{"id": "a"}', {"columns": {"prediction_id": "id", "vote": "v"}}, "f.jsonl: no column 'v'"),
        ("f.jsonl", '{"prediction_id": "a", "vote": "up"}\n[1]', {}, "f.jsonl:2: must be an object"),
        ("f.jsonl", '{"prediction_id": "a", "vote": "\\ud83d"}', {}, "f.jsonl:1: 'vote' holds \\u0000 or half of a surrogate"),
        ("f.jsonl", '{"prediction_id": {}, "vote": "up"}', {}, "f.jsonl:1: 'prediction_id' must be text, got an object"),
        ("f.jsonl", '{"input": 5, "output": "a", "vote": "up"}', {}, "f.jsonl:1: 'input' must be text, got a number"),
        ("f.jsonl", '{"input": [{"role": "assistant", "content": "a"}], "output": "a", "vote": 1}', {}, "f.jsonl:1: input[1]"),
        ("f.jsonl", '{"vote": "up"', {}, "f.jsonl:1: not JSON"),
        ("f.xlsx", "PK\x03\x04", {}, "f.xlsx: the file is a zip archive"),
        ("f.txt", "up", {}, "f.txt: must end in .csv, .tsv, .json"),
    ],
)  # fmt: skip
def test_unclear_file_is_refused_by_its_place(run, name: str, text: str, fields: dict, reason: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(reason)}"):
        run(text, ULM, name=name, **fields)


@pytest.mark.parametrize("text", ["", "prediction_id,vote\n"], ids=["empty", "header"])
def test_file_without_rows_is_a_warning(run, capsys, text: str) -> None:
    run(text, ULM, name="f.csv")
    assert "f.csv: has no rows, so nothing is joined" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"columns": {"vote": "v"}}, "name prediction_id, or input and output"),
        ({"columns": {"input": "i", "vote": "v"}}, "name prediction_id, or input and output"),
        ({"columns": {"prediction_id": "i", "comment": "c"}}, "name vote or correction"),
        ({"up": ["Yes"], "down": ["yes"]}, "'yes' is both in up and in down"),
        ({"columns": "all"}, "auto"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(fields: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        settings(**fields)


def test_row_of_a_file_holds_only_what_it_gives() -> None:
    given = reading._given("f:1", {"vote": ("vote", "UP"), "user": ("user", " 7 "), "at": ("at", None)}, settings())
    assert given.texts == {"vote": "up", "user": "7"}


def test_answer_id_does_not_depend_on_when_it_was_given() -> None:
    assert answer().id == Answer.model_validate(answer().model_dump(exclude={"id"})).id
    assert len({one.id for one in (answer(), answer(text="x"), answer(system="y"), answer("z"))}) == 4
