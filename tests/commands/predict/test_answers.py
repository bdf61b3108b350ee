"""The output of tunetrail predict in each form, next to what the rows had."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from stages.commands.predict import answers
from stages.errors import DataError
from stages.fetch import table
from stages.text.thoughts import Marks

ROWS = [
    {"id": 7, "input": 'a, "b"\n', "tags": ["x"], "prediction": "=1+1\r\n", "parsed": None, "valid": False},
    {"id": None, "input": "你好", "more": 1.5, "prediction": '{"a": 1}', "parsed": {"a": 1}, "valid": True},
]
CELLS = [
    {"id": "7", "input": 'a, "b"\n', "tags": '["x"]', "prediction": "=1+1\r\n", "parsed": "", "valid": "false", "more": ""},
    {"id": "", "input": "你好", "tags": "", "prediction": '{"a": 1}', "parsed": '{"a": 1}', "valid": "true", "more": "1.5"},
]


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part"
    path.write_text("".join(map(answers.line, ROWS)), encoding="utf-8")
    return path


def finished(part: Path, name: str, systems: tuple[str, ...] = ()) -> Path:
    target = part.with_name(name)
    answers.finish(part, target, systems)
    assert [path.name for path in part.parent.iterdir()] == [name]
    return target


def test_json_lines_are_kept_as_they_are(part: Path) -> None:
    before = part.read_bytes()
    assert finished(part, "out.jsonl").read_bytes() == before


def test_json_is_a_list(part: Path) -> None:
    assert json.loads(finished(part, "out.json").read_text(encoding="utf-8")) == ROWS


def test_no_rows_are_an_empty_list_and_an_empty_table(tmp_path: Path) -> None:
    for name, content in {"out.json": "[]\n", "out.csv": ""}.items():
        (tmp_path / "part").touch()
        assert finished(tmp_path / "part", name).read_bytes().decode() == content
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.CSV"])
def test_table_has_the_columns_of_all_rows(part: Path, name: str) -> None:
    target = finished(part, name)
    with target.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t" if name == "out.tsv" else ","))
    assert found == CELLS
    assert list(found[0]) == ["id", "input", "tags", "prediction", "parsed", "valid", "more"]


def test_table_is_read_back_by_fetch(part: Path) -> None:
    first, second = [dict(row) for _, row in table.read(finished(part, "out.csv"), {"input": "input"})]
    assert [first, second] == [CELLS[0] | {"prediction": "=1+1\n"}, CELLS[1]]  # fetch reads each line end as \n


def test_systems_of_a_table_have_columns_of_their_own(tmp_path: Path) -> None:
    row: dict[str, Any] = {"id": "7", "base_0shot": {"prediction": "a"}, "tuned": {"prediction": "b"}, "other": {"x": 1}}
    (tmp_path / "part").write_text(answers.line(row), encoding="utf-8")
    content = finished(tmp_path / "part", "out.csv", ("base_0shot", "tuned")).read_text(encoding="utf-8")
    assert content.splitlines() == ["id,base_0shot.prediction,tuned.prediction,other", '7,a,b,"{""x"": 1}"']


@pytest.mark.parametrize("name", ["out.xlsx", "out.parquet", "out.txt", "out", "out.csv.gz"])
def test_other_form_of_output_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"^--output {name}: must end in \.jsonl, \.json, \.csv or \.tsv$"):
        answers.require_form(Path(name))


def test_columns_of_answers_do_not_depend_on_rows() -> None:
    assert answers.columns(["tuned"], of_object=False, think=False) == ["prediction"]
    assert answers.columns(["tuned"], of_object=True, think=True) == ["prediction", "thoughts", "parsed", "valid"]
    assert answers.columns(["a", "b"], of_object=False, think=False) == ["a", "b", "a.prediction", "b.prediction"]
    assert answers.answer("no object", of_object=False, marks=None) == {"prediction": "no object"}
    found = answers.answer("no object", of_object=True, marks=None)
    assert found == {"prediction": "no object", "parsed": None, "valid": False}


@pytest.mark.parametrize(
    ("text", "thoughts", "prediction"),
    [('<think>hm</think>\n{"a": 1}', "<think>hm</think>\n", '{"a": 1}'), ("<think>hm", "<think>hm", ""), ("4", "", "4")],
)
def test_thoughts_have_a_column_of_their_own(text: str, thoughts: str, prediction: str) -> None:
    found = answers.answer(text, of_object=False, marks=Marks("<think>", "</think>"))
    assert found == {"prediction": prediction, "thoughts": thoughts}
