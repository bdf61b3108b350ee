"""The sheet in which people judge synthetic rows: what it contains, how answers are counted, what is refused."""

import csv
from pathlib import Path
from typing import Any

import pytest

from stages import locks, params, records
from stages.commands import audit
from stages.errors import DataError
from stages.params import compose
from stages.records import Message, Rejection, Task

HISTORY = (Message(role="user", content="Hello"), Message(role="assistant", content="Yes?"))
MADE = [
    Task(kind="text", instruction=f"=Task {n}", input="两\n行", output="an, answer", source="s", parents=("call-1",))
    for n in range(6)
]
MADE.append(Task(kind="text", instruction="Go on.", history=HISTORY, output="x", source="s", parents=("call-2",)))
SEED = Task(kind="text", instruction="Written by people.", output="x", source="s")
TASKS = {"self_instruct": [SEED, *MADE]}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def filled(path: Path, *answers: tuple[str, str, str]) -> Path:
    """The sheet with the first rows answered, as a spreadsheet would save it."""
    sheet = rows(path)
    for row, given in zip(sheet, answers, strict=False):
        row.update(zip(audit.QUESTIONS.values(), given, strict=True))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sheet[0])
        writer.writeheader()
        writer.writerows(sheet)
    return path


def test_sheet_depends_on_seed_and_has_three_questions(tmp_path: Path) -> None:
    sheets = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    assert [audit.write(sheet, TASKS, 3, seed) for sheet, seed in zip(sheets, (1, 1, 2), strict=True)] == [3, 3, 3]
    assert sheets[0].read_bytes() == sheets[1].read_bytes() != sheets[2].read_bytes()
    (first, *_) = rows(sheets[0])
    assert list(first)[-3:] == list(audit.QUESTIONS.values())
    assert all(first[question] == "" for question in audit.QUESTIONS.values())


def test_texts_stay_complete_and_are_not_formulas(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    assert audit.write(path, TASKS, 50, 1) == len(MADE)
    found = {row["id"]: row for row in rows(path)}
    assert SEED.id not in found
    assert (found[MADE[0].id]["instruction"], found[MADE[0].id]["input"]) == ("'=Task 0", "两\n行")
    assert found[MADE[-1].id]["instruction"] == "user: Hello\nassistant: Yes?\nGo on."


def test_answers_are_counted_per_question_and_for_all_three(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    audit.write(path, TASKS, 50, 1)
    filled(path, ("yes", "Yes", "YES"), ("yes", "no", ""), ("no", "no", "no"))
    counts = audit.answers(path, TASKS)
    assert counts.ids == [row["id"] for row in rows(path)]
    assert {name: (one.yes, one.of) for name, one in counts.questions.items()} == {
        "valid_task": (2, 3),
        "fitting_input": (1, 3),
        "correct_output": (1, 2),
    }
    assert (counts.all.yes, counts.all.of) == (1, 2)


def test_a_sheet_that_may_hold_answers_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="already exists"):
        audit.write(path, TASKS, 5, 1)
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_sheet_without_answers_or_with_a_row_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    audit.write(path, TASKS, 50, 1)
    with pytest.raises(DataError, match="contains no answers"):
        audit.answers(path, TASKS)
    text = filled(path, ("yes", "yes", "yes")).read_text(encoding="utf-8")
    path.write_text(text + text.splitlines()[1].replace("yes", "no") + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="is in the sheet twice"):
        audit.answers(path, TASKS)


def test_missing_tasks_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compose.compose(["experiment=smoke"], tmp_path / "params.yaml")
    with pytest.raises(DataError, match=r"^data/synthetic/self_instruct/tasks\.jsonl: no such file; run `dvc repro` first$"):
        audit.export(Path("audit.csv"))


@pytest.mark.parametrize(
    ("override", "rejected", "reason"),
    [
        ("synthesis=none", [], r"^synthesis\.methods: none writes no synthetic rows, .* choose a method and run again$"),
        (
            "seed=1",
            ["similar", "length", "length"],
            r"no synthetic rows to judge: 3 candidates of self_instruct were rejected, 2 of them by the filter length, and "
            r"none is left; data/synthetic/self_instruct/rejected\.jsonl has the reasons\. Change",
        ),
        ("seed=1", [], r"wrote no candidates; data/synthetic/self_instruct/funnel\.json has the counts$"),
    ],
)
def test_sheet_without_rows_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, rejected: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    compose.compose(["experiment=smoke", override], params.PARAMS)
    for method in ("none", "self_instruct"):
        records.write(Path("data/synthetic") / method / "tasks.jsonl", [SEED])
        found = [Rejection(text=f"{n}", filter=name, reason="r") for n, name in enumerate(rejected)]
        records.write(Path("data/synthetic") / method / "rejected.jsonl", found)
    with pytest.raises(DataError, match=reason):
        audit.export(Path("audit.csv"))
    assert not Path("audit.csv").exists()


def test_word_that_is_not_an_answer_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    audit.write(path, {"m": MADE[-1:]}, 5, 1)
    with pytest.raises(DataError, match=r"audit\.csv:\d+: Is the input appropriate.*'maybe' is not an answer"):
        audit.answers(filled(path, ("yes", "maybe", "")), TASKS)


def test_rows_of_another_run_and_a_changed_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.csv"
    audit.write(path, TASKS, 5, 1)
    with pytest.raises(DataError, match="is not in data/synthetic"):
        audit.answers(path, {"self_instruct": [SEED]})
    path.write_text("id,answer\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"audit\.csv:1: no column"):
        audit.answers(path, TASKS)


def test_second_export_to_one_sheet_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compose.compose(["experiment=smoke"], params.PARAMS)
    records.write(Path("data/synthetic/self_instruct/tasks.jsonl"), MADE)
    real, sheet = audit.write, Path("audit.csv")

    def during(*given: Any) -> int:
        with pytest.raises(DataError, match=r"^audit\.csv: process \d+ \(.*\) works on it"):
            audit.export(sheet)
        return real(*given)

    monkeypatch.setattr(locks, "TRIES", 1)
    monkeypatch.setattr(audit, "write", during)
    audit.export(sheet)
    assert len(rows(sheet)) == len(MADE) and list(Path().glob(".*")) == []


def test_second_import_for_one_experiment_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locks, "TRIES", 1)
    compose.compose(["experiment=smoke"], params.PARAMS)
    monkeypatch.setattr(audit, "answers", lambda *_: {"ids": [], "all": {"of": 0}})
    monkeypatch.setattr(audit, "_tasks", lambda _: {})
    output = Path("data/authored/audits/smoke.json")
    with locks.take(output), pytest.raises(DataError, match=r"smoke\.json: process .* works on it"):
        audit.read_back(Path("audit.csv"))
