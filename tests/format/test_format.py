"""Chats of tasks, few-shot examples set apart, and train rows removed because they repeat a test row."""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from stages import figures, files, records
from stages.errors import DataError
from stages.figures.rows import Audit
from stages.format import chats
from stages.format.__main__ import RAW, to_protect
from stages.records import Example, Message, Task
from stages.spool import Again
from tests.fixtures.formatting import formatted


def task(input: str = "", output: str = "right", **more: Any) -> Task:
    return Task(**{"kind": "text", "input": input, "output": output, "source": "s"} | more)


def turns(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(contents))


@pytest.mark.parametrize(
    ("given", "chat"),
    [
        ({"input": "Where is it?"}, [("user", "Where is it?"), ("assistant", "right")]),
        ({"instruction": "Say why."}, [("user", "Say why."), ("assistant", "right")]),
        (
            {"system": "Be brief.", "instruction": "Translate.", "input": "Guten Tag"},
            [("system", "Be brief."), ("user", "Translate.\nGuten Tag"), ("assistant", "right")],
        ),
        (
            {"system": "Be brief.", "history": turns("Hi", "Hello"), "input": "Bye"},
            [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "right")],
        ),
        ({"input": " {{ x }} \n"}, [("user", " {{ x }} \n"), ("assistant", "right")]),
    ],
)
def test_a_chat_is_system_earlier_turns_question_and_reference(given: dict[str, Any], chat: list[tuple[str, str]]) -> None:
    example = chats.example(task(**given))
    assert [(message.role, message.content) for message in example.messages] == chat
    assert example.reference == "right"
    assert [(message.role, message.content) for message in example.prompt] == chat[:-1]


def test_protected_rows_repeat_no_held_out_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained, given, held_out = ([task(f"{kind} {i}") for i in range(3)] for kind in ("new", "earlier", "asked"))

    def kept(rows: list[Task]) -> list[Task]:
        records.write(RAW / "protected.jsonl", rows)
        return to_protect(Again(lambda: iter(trained)), len(trained), Again(lambda: iter(held_out)), 13)

    assert kept([]) == []
    assert kept([*given, held_out[0]]) == given
    with pytest.raises(DataError, match=r"^data\.mix\.protect: each of the 3 rows repeats"):
        kept(held_out)


@pytest.mark.model
def test_protected_rows_of_files_are_formatted_as_training_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mixture = ["data=several_tasks", "synthesis=none", "report.headline=stop_rate", "replay.ewc_lambda=1"]
    formatted(tmp_path, *mixture, "data.mix.protect={questions: 4}", "data.mix.rows={questions: 0}", "data.mix.weights=null")
    splits = {name: list(records.read(Path(f"data/formatted/{name}.jsonl"), Example)) for name in ("train", "protected")}
    assert {row.dataset for row in splits["protected"]} == {"questions"} != {row.dataset for row in splits["train"]}
    counted = figures.read(Path("data/formatted/audit.json"), Audit).splits
    assert counted["protected"].rows == len(splits["protected"]) == 4
    assert counted["protected"].end_supervised == 1.0


@pytest.mark.model
def test_data_set_without_training_rows_has_a_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of its validation rows. Without one its test rows were answered freely, those of other sets in JSON alone."""
    monkeypatch.chdir(tmp_path)
    months = [f"month_{number}" for number in range(1, 5)]
    for month, split in product(months, ("train", "valid", "test")):
        rows = [{"text": f"{split} {month} {i}", "record": {f"of_{month}": month}, "layout": f"{i}"} for i in range(4)]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        files.write_text(tmp_path / f"data/own/complaint_months/{month}/{split}.jsonl", lines)
    common = ["data=complaint_months", "synthesis=none", "report.headline=field_exact", "predict.shots=[0]", "format.shots=0"]
    formatted(tmp_path, *common, "data.mix.rows={month_1: 0, month_2: 0, month_3: 0}")
    assert {row.dataset for row in records.read(Path("data/formatted/train.jsonl"), Example)} == {"month_4"}
    schemas = files.read_json(Path("data/formatted/schemas.json"))
    assert {name: list(found["properties"]) for name, found in schemas.items()} == {month: [f"of_{month}"] for month in months}


def test_example_keeps_fields_for_scores_and_lineage() -> None:
    source = task("x", kind="extraction", source="layout-7", slices=("noise", "missing"))
    (example,) = chats.examples([source])
    assert (example.kind, example.source, example.slices) == ("extraction", "layout-7", ("noise", "missing"))
    assert example.parents == (source.id,)


MANY = [task(f"question {i}", source=f"layout-{i % 4}") for i in range(20)]


def test_set_apart_examples_have_different_sources() -> None:
    for seed in range(20):
        shots, others = chats.set_apart(MANY, 4, seed)
        assert {shot.source for shot in shots} == {"layout-0", "layout-1", "layout-2", "layout-3"}
        assert others == [row for row in MANY if row not in shots]


def test_examples_are_set_apart_of_each_data_set() -> None:
    mixed = [task(f"question {i}", source=f"layout-{i}", dataset="one" if i < 15 else "two") for i in range(20)]
    shots, others = chats.set_apart(mixed, 3, seed=1)
    assert [shot.dataset for shot in shots] == ["one"] * 3 + ["two"] * 2  # half of the rows at most
    assert others == [row for row in mixed if row not in shots]


@pytest.mark.parametrize(("rows", "asked", "given"), [(20, 0, 0), (20, 6, 6), (20, 15, 10), (1, 3, 0), (0, 3, 0)])
def test_set_apart_examples_never_take_more_than_half(rows: int, asked: int, given: int) -> None:
    shots, others = chats.set_apart(MANY[:rows], asked, seed=1)
    assert len(shots) == len({shot.id for shot in shots}) == given
    assert sorted(row.id for row in [*shots, *others]) == sorted(row.id for row in MANY[:rows])


def test_more_set_apart_examples_keep_the_first() -> None:
    assert chats.set_apart(MANY, 4, seed=1) == chats.set_apart(MANY, 4, seed=1)
    assert len({chats.set_apart(MANY, 4, seed)[0][0].id for seed in range(10)}) > 1
    assert chats.set_apart(MANY, 8, seed=1)[0][:4] == chats.set_apart(MANY, 4, seed=1)[0]


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("rows", "raise data.valid, add rows to your data"),
        ("mix", "raise `valid` of the data set in data.sets, add rows to it"),
        ("documents", "write more questions into valid.jsonl of data.path"),
        ("complaints", "raise data.rows.valid"),
        ("graph", "raise the numbers in data.rows.valid"),
    ],
)
def test_remedy_for_too_few_examples_fits_the_data(kind: str, remedy: str) -> None:
    chats.require_shots(3, MANY[:3], MANY[:6], kind)
    with pytest.raises(
        DataError, match=rf"^predict\.shots: needs 3 .* of 5 validation rows only 2 .*; {re.escape(remedy)} or set"
    ):
        chats.require_shots(3, MANY[:2], MANY[:5], kind)


def test_too_few_examples_of_one_data_set_are_named() -> None:
    rows = [task(f"question {i}", dataset="one" if i < 8 else "two") for i in range(10)]
    shots, _ = chats.set_apart(rows, 2, seed=1)
    chats.require_shots(1, shots, rows, "mix")
    with pytest.raises(DataError, match=r"needs 2 examples, but of 2 validation rows of two only 1 can be set apart"):
        chats.require_shots(2, shots, rows, "mix")
    with pytest.raises(DataError, match=r"needs 2 examples, but of 0 validation rows only 0"):
        chats.require_shots(2, [], [], "rows")


def test_setting_apart_is_fast_with_many_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def equal(one: Task, other: object) -> bool:
        nonlocal compared
        compared += 1
        return isinstance(other, Task) and one.id == other.id

    rows = [task(f"question {i}", source=f"row-{i}") for i in range(300)]
    monkeypatch.setattr(Task, "__eq__", equal)
    chats.set_apart(rows, 8, seed=1)
    assert compared <= len(rows)
