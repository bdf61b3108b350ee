"""`tunetrail audit`: people judge a sample of the synthetic rows in a CSV sheet, and their answers are counted.

The questions are those of Self-Instruct (Wang et al. 2023, arXiv:2212.10560, table 2). An answer is yes, no or blank (not
judged).
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages import figures, locks, params
from stages.commands import clone, outputs
from stages.errors import DataError
from stages.files import unchanged
from stages.rating import sheet as csv_sheet
from stages.records import Rejection, Task, read
from stages.report.evidence import Asked, Counted, Judged

SYNTHETIC = Path("data/synthetic")
ROWS = 50
QUESTIONS = {
    "valid_task": "Does the instruction describe a valid task?",
    "fitting_input": "Is the input appropriate for the instruction?",
    "correct_output": "Is the output a correct and acceptable response to the instruction and input?",
}
TEXTS = ("id", "method", "instruction", "input", "output")


def export(sheet: Path) -> None:
    """Write a sheet for the experiment in params.yaml."""
    clone.refuse_running()
    with locks.exclusive(sheet), unchanged(params.PARAMS, SYNTHETIC):
        p = params.read("seed", "synthesis.methods")
        tasks = _tasks(p.synthesis.methods)
        if not _made(tasks):
            raise DataError(_nothing_made(p.synthesis.methods))
        count = write(sheet, tasks, ROWS, p.seed)
    print(f"{sheet}: {count} rows; answer its questions with yes or no, then run `tunetrail audit import {sheet}`")


def read_back(sheet: Path) -> None:
    """Store the counts of a filled sheet in data/authored/audits/, where the report reads them."""
    clone.refuse_running()
    with unchanged(params.PARAMS, SYNTHETIC):
        p = params.read("name", "synthesis.methods")
        counts = answers(sheet, _tasks(p.synthesis.methods))
    path = Path("data/authored/audits") / f"{p.name}.json"
    with locks.exclusive(path):
        figures.write(path, counts)
    print(f"{path}: {counts.all.of} of {len(counts.ids)} rows answered; `dvc repro` adds them to the report")


def _tasks(methods: Sequence[str]) -> dict[str, list[Task]]:
    paths = {method: SYNTHETIC / method / "tasks.jsonl" for method in methods}
    outputs.require(*paths.values())
    return {method: list(read(path, Task)) for method, path in paths.items()}


def _made(tasks: Mapping[str, Sequence[Task]]) -> list[tuple[str, Task]]:
    """Return the synthetic rows with their methods; authored seeds have no parents."""
    return [(method, task) for method, own in tasks.items() for task in own if task.parents]


def _nothing_made(methods: Sequence[str]) -> str:
    """Return the reason for a run without synthetic rows, and what to do."""
    if methods == ["none"]:
        return "synthesis.methods: none writes no synthetic rows, so there are none to judge; choose a method and run again"
    nothing = f"{SYNTHETIC}: no synthetic rows to judge"
    for method in methods:
        path = SYNTHETIC / method / "rejected.jsonl"
        if filters := Counter(rejection.filter for rejection in read(path, Rejection)):
            (worst, count), *_ = filters.most_common()
            return (
                f"{nothing}: {filters.total()} candidates of {method} were rejected, {count} of them by the filter {worst}, "
                f"and none is left; {path} has the reasons. Change synthesis.{method} or the teacher, then run again"
            )
    return f"{nothing}: the teacher wrote no candidates; {SYNTHETIC / methods[0] / 'funnel.json'} has the counts"


def write(path: Path, tasks: Mapping[str, Sequence[Task]], count: int, seed: int) -> int:
    """Write up to `count` rows, sampled from all methods, and return their number; raise DataError if the file exists."""
    made = _made(tasks)
    chosen = random.Random(seed).sample(made, min(count, len(made)))
    rows = ([task.id, method, *_texts(task), *[""] * len(QUESTIONS)] for method, task in chosen)
    csv_sheet.write(path, [*TEXTS, *QUESTIONS.values()], rows)
    return len(chosen)


def answers(path: Path, tasks: Mapping[str, Sequence[Task]]) -> Judged:
    """Return the ids of a filled sheet and the numbers of yes and of all answers, per question and for complete rows."""
    known = {task.id for own in tasks.values() for task in own}
    ids, judged = [], []
    for where, row in csv_sheet.read(path, ("id", *QUESTIONS.values())):
        if row["id"] not in known:
            raise DataError(f"{where}: {row['id']!r} is not in data/synthetic; export a new sheet")
        if row["id"] in ids:
            raise DataError(f"{where}: {row['id']!r} is in the sheet twice; delete one of its lines")
        ids.append(row["id"])
        judged.append([_answer(row[question], f"{where}: {question}") for question in QUESTIONS.values()])
    if all(value is None for row in judged for value in row):
        raise DataError(f"{path}: contains no answers; answer its questions with yes or no")
    columns = dict(zip(QUESTIONS, zip(*judged, strict=True), strict=True))
    return Judged(
        ids=ids,
        questions={name: Asked(question=QUESTIONS[name], **_counted(column)) for name, column in columns.items()},
        all=Counted(**_counted([None if None in row else all(row) for row in judged])),
    )


def _texts(task: Task) -> tuple[str, str, str]:
    history = [f"{message.role}: {message.content}" for message in task.history]
    return "\n".join(part for part in (task.system, *history, task.instruction) if part), task.input, task.output


def _answer(text: str, where: str) -> bool | None:
    word = text.strip().lower()
    if word not in ("", "yes", "no"):
        raise DataError(f"{where}: {word!r} is not an answer; write yes or no, or leave the cell blank")
    return None if word == "" else word == "yes"


def _counted(column: Sequence[bool | None]) -> dict[str, int]:
    return {"yes": sum(value is True for value in column), "of": sum(value is not None for value in column)}
