"""Multiple-choice rows: forms of options, prompts and orders; and further tasks on the same rows."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from stages import params
from stages.errors import DataError
from stages.fetch import rows
from stages.params import RowsData, compose
from stages.records import Task

COLUMNS = {"messages": None, "system": None, "instruction": None, "input": "question", "output": "answer_idx"}
COLUMNS |= {"options": "options", "group": None}
DRUGS = {"A": "Ampicillin", "B": "Nitrofurantoin", "C": "Ciprofloxacin", "D": "Doxycycline"}


def cells(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"options": json.dumps(row["options"])} for row in values]


def read(folder: Path, values: list[dict[str, Any]], suffix: str = "jsonl", **changes: Any) -> dict[str, list[Task]]:
    path = folder / f"mine.{suffix}"
    if suffix == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([[*values[0]], *([*row.values()] for row in cells(values))])
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in values), encoding="utf-8")
    settings = {"kind": "rows", "path": str(path), "hub": None, "task": "choice", "system": "", "columns": COLUMNS}
    settings |= {"labels": None, "wordings": [], "also": []}
    data = RowsData.model_validate(settings | {"orders": 0, "splits": None, "valid": 0.0, "test": 0.0} | changes)
    return {split: list(tasks) for split, tasks in rows.tasks(data, seed=1).items()}


def asked(options: Any, answer: str = "B", question: str = "Which drug?") -> dict[str, Any]:
    return {"question": question, "options": options, "answer_idx": answer}


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize(
    "options",
    [DRUGS, [{"key": k, "value": v} for k, v in DRUGS.items()], [[k, v] for k, v in DRUGS.items()], DRUGS | {"E": None}],
    ids=["object", "keys and values", "pairs", "a letter that this row lacks"],
)
@pytest.mark.parametrize("answer", ["B", "Nitrofurantoin"])
def test_question_has_lettered_options_and_complete_answers(tmp_path: Path, options: Any, suffix: str, answer: str) -> None:
    (task,) = read(tmp_path, [asked(options, answer)], suffix)["train"]
    assert task.input == (
        "Which drug?\n\nOptions:\nA. Ampicillin\nB. Nitrofurantoin\nC. Ciprofloxacin\nD. Doxycycline\n\n"
        "Please choose the correct answer."
    )
    assert (task.kind, task.instruction, task.output) == ("choice", "", "The correct answer is Nitrofurantoin.")
    assert task.choices == tuple(f"The correct answer is {drug}." for drug in DRUGS.values())


BAD: list[tuple[str, Any, str, str]] = [
    ("not JSON", "A or B", "A", "'options' is not JSON"),
    ("texts and numbers", ["x", 2], "A", "'options' must be an object like"),
    ("an index from 1", ["x", "y"], 2, "'answer_idx' is 2, but the 2 options are counted from 0 to 1"),
    ("an index below 0", ["x", "y"], -1, "counted from 0 to 1"),
    ("an index of other names", {"1": "x", "2": "y"}, 1, "the options are called 1, 2; name one as text"),
    ("true", ["x", "y"], True, "'answer_idx' must be text"),
    ("a text that is a letter", ["B", "y"], "B", "names 2 of the options"),
    ("more labels than texts", {"text": ["x", "y"], "label": ["A", "B", "C"]}, "A", "has 2 texts, but 3 labels"),
    ("a number", 7, "A", "'options' must be an object like"),
    ("empty", {}, "A", "'options' must be an object like"),
    ("one option", {"A": "x"}, "A", "2 to 26 options"),
    ("a text twice", {"A": "x", "B": "x "}, "A", "no letter or text twice"),
    ("a letter twice", [["A", "x"], ["A", "y"]], "A", "no letter or text twice"),
    ("an empty text", {"A": "x", "B": " "}, "A", "none empty"),
    ("a number as text", {"A": "x", "B": 2}, "A", "'options' must be text"),
    ("no such letter", {"A": "x", "B": "y"}, "C", "'answer_idx' is 'C', which names 0 of the options A, B"),
    ("a letter that is another's text", {"A": "B", "B": "y"}, "B", "names 2 of the options A, B"),
    ("an index as text", ["x", "y"], "1", "names 0 of the options A, B; if it counts from 0, set data.labels={0: A, 1: B}"),
    ("blank", {"A": "x", "B": "y"}, " ", "names 0 of the options"),
]


@pytest.mark.parametrize(("options", "answer", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_unusable_options_are_refused_with_their_place(tmp_path: Path, options: Any, answer: str, expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        read(tmp_path, [asked(DRUGS), asked(options, answer)])
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path}/mine.jsonl:2: ")
    assert expected in message
    assert "\n" not in message


MANY = [asked(DRUGS, "A", f"Question {number}?") for number in range(200)]


def test_labels_name_the_options_that_numbers_mean(tmp_path: Path) -> None:
    (task,) = read(tmp_path, [asked(["x", "y"], "1")], "csv", labels={0: "A", 1: "B"})["train"]
    assert task.output == "The correct answer is y."


def test_each_order_moves_every_option(tmp_path: Path) -> None:
    found = read(tmp_path, MANY, orders=4, valid=0.2, test=0.3)
    for split, times in (("train", 1), ("valid", 1), ("test", 4)):
        sources = [task.source for task in found[split]]
        assert len(sources) == times * len(set(sources)) > 0
    first = [task for task in found["test"] if task.source == found["test"][0].source]
    assert sorted(task.choices.index(task.output) for task in first) == [0, 1, 2, 3]
    assert len({task.id for task in first}) == 4


def test_drawn_order_depends_only_on_seed_and_question(tmp_path: Path) -> None:
    train = read(tmp_path, MANY, orders=1)["train"]
    places = [task.choices.index(task.output) for task in train]
    assert all(30 < places.count(place) < 70 for place in range(4))
    again = read(tmp_path, MANY[::-1], orders=1, system="Think.")["train"]
    assert [task.choices for task in again] == [task.choices for task in train[::-1]]
    assert {task.choices.index(task.output) for task in read(tmp_path, MANY)["train"]} == {0}


def test_more_orders_than_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine\.jsonl:1: data\.orders = 5, but there are 4 options; lower it"):
        read(tmp_path, [asked(DRUGS)], orders=5)


def test_further_task_uses_only_training_rows(tmp_path: Path) -> None:
    also = [{"system": "Name the group.", "output": "group"}]
    found = read(tmp_path, [row | {"group": "antibiotics"} for row in MANY], also=also, valid=0.2, test=0.3)
    further = [task for task in found["train"] if task.system == "Name the group."]
    assert len(found["train"]) == 2 * len(further)
    assert {(task.kind, task.output) for task in further} == {("text", "antibiotics")}
    assert [task.source for task in found["train"][::2]] == [task.source for task in further]
    assert {task.kind for split in ("valid", "test") for task in found[split]} == {"choice"}


def test_missing_column_of_a_further_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'grup'.*set data\.also\.0\.output"):
        read(tmp_path, MANY, also=[{"system": "Name the group.", "output": "grup"}])


def authored(*overrides: str) -> tuple[RowsData, dict[str, list[Task]]]:
    data = params.check(compose.composed(*overrides)).data
    assert isinstance(data, RowsData)
    found = rows.tasks(data.model_copy(update={"path": str(compose.ROOT / data.path)}), seed=42)
    return data, {split: list(tasks) for split, tasks in found.items()}


def test_authored_medical_questions_are_balanced() -> None:
    data, found = authored("experiment=medqa_offline")
    lines = (compose.ROOT / data.path).read_text(encoding="utf-8").splitlines()
    values = [json.loads(line) for line in lines]
    assert len(values) >= 60
    assert [row["question"] for row in values if row["options"][row["answer_idx"]] != row["answer"]] == []
    assert {row["answer_idx"] for row in values} == set("ABCDE")
    assert len({row["question"] for row in values}) == len(values) == len({t.source for s in found.values() for t in s})


def test_authored_conversations_can_mix_two_tasks() -> None:
    _, alone = authored("experiment=dialogue_offline")
    _, mixed = authored("experiment=dialogue_offline", "data=dialogue_mixed")
    assert sum(map(len, alone.values())) >= 40
    assert {(task.kind, task.system) for task in alone["test"]} == {("summary", "Summarize the following conversation.")}
    assert (mixed["valid"], mixed["test"]) == (alone["valid"], alone["test"])
    assert mixed["train"][::2] == alone["train"]
    assert len(alone["valid"]) >= 2 * 3  # half of the rows are set apart, and prompts show three


ARC = {"text": ["Ampicillin", "Nitrofurantoin"], "label": ["1", "2"]}


@pytest.mark.parametrize(
    ("options", "answer"),
    [(["Ampicillin", "Nitrofurantoin"], value) for value in (1, "B", "Nitrofurantoin")] + [(ARC, "2"), (DRUGS, 1)],
    ids=["MMLU index", "MMLU letter", "MMLU text", "ARC", "object and index"],
)
def test_published_forms_of_options_are_read(tmp_path: Path, options: Any, answer: Any) -> None:
    (task,) = read(tmp_path, [asked(options, answer)])["train"]
    assert task.output == "The correct answer is Nitrofurantoin."
    assert task.choices[:2] == ("The correct answer is Ampicillin.", "The correct answer is Nitrofurantoin.")
