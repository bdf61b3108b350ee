"""A CSV of sampled synthetic rows in which people answer the audit questions of Self-Instruct, and their answers counted.

The questions are those of Wang et al. 2023 (arXiv:2212.10560, table 2); an answer is yes, no or blank (not judged).
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages import params
from stages.commands import sheet as csv_sheet
from stages.errors import DataError
from stages.files import write_json
from stages.records import Task, read

ROWS = 50
QUESTIONS = {
    "valid_task": "Does the instruction describe a valid task?",
    "fitting_input": "Is the input appropriate for the instruction?",
    "correct_output": "Is the output a correct and acceptable response to the instruction and input?",
}
TEXTS = ("id", "method", "instruction", "input", "output")


def export(sheet: Path) -> None:
    """Write the sheet of the experiment in params.yaml."""
    p = params.read("seed", "synthesis.methods")
    count = write(sheet, _tasks(p.synthesis.methods), ROWS, p.seed)
    print(f"{sheet}: {count} rows; answer its questions with yes or no, then run `tunetrail audit import {sheet}`")


def read_back(sheet: Path) -> None:
    """Keep a filled sheet's counts in data/authored/audits/, where the report reads them."""
    p = params.read("name", "synthesis.methods")
    found = answers(sheet, _tasks(p.synthesis.methods))
    kept = Path("data/authored/audits") / f"{p.name}.json"
    write_json(kept, found)
    print(f"{kept}: {found['all']['of']} of {len(found['ids'])} rows answered; `dvc repro` puts it into the report")


def _tasks(methods: Sequence[str]) -> dict[str, list[Task]]:
    return {method: list(read(Path("data/synthetic") / method / "tasks.jsonl", Task)) for method in methods}


def write(path: Path, tasks: Mapping[str, Sequence[Task]], count: int, seed: int) -> int:
    """Write `count` rows, sampled over all methods; DataError where the file exists, since it may hold people's answers."""
    made = [(method, task) for method, own in tasks.items() for task in own if task.parents]  # authored seeds have none
    if not made:
        raise DataError("data/synthetic: no synthetic rows to judge; run `dvc repro` with a method of synthesis first")
    chosen = random.Random(seed).sample(made, min(count, len(made)))
    rows = ([task.id, method, *_texts(task), *[""] * len(QUESTIONS)] for method, task in chosen)
    csv_sheet.write(path, [*TEXTS, *QUESTIONS.values()], rows)
    return len(chosen)


def answers(path: Path, tasks: Mapping[str, Sequence[Task]]) -> dict[str, Any]:
    """Ids judged; yes and answered by question and for all together; DataError names a bad answer's line and column."""
    known = {task.id for own in tasks.values() for task in own}
    ids, judged = [], []
    for where, row in csv_sheet.read(path, ("id", *QUESTIONS.values())):
        if row["id"] not in known:
            raise DataError(f"{where}: {row['id']!r} is no row of data/synthetic: export a new sheet")
        if row["id"] in ids:
            raise DataError(f"{where}: {row['id']!r} stands in the sheet twice; take one of its lines out")
        ids.append(row["id"])
        judged.append([_answer(row[question], f"{where}: {question}") for question in QUESTIONS.values()])
    if all(value is None for row in judged for value in row):
        raise DataError(f"{path}: holds no answers; answer its questions with yes or no")
    columns = dict(zip(QUESTIONS, zip(*judged, strict=True), strict=True))
    return {
        "ids": ids,
        "questions": {name: {"question": QUESTIONS[name], **_counted(column)} for name, column in columns.items()},
        "all": _counted([None if None in row else all(row) for row in judged]),
    }


def _texts(task: Task) -> tuple[str, str, str]:
    history = [f"{message.role}: {message.content}" for message in task.history]
    return "\n".join(part for part in (task.system, *history, task.instruction) if part), task.input, task.output


def _answer(text: str, where: str) -> bool | None:
    word = text.strip().lower()
    if word not in ("", "yes", "no"):
        raise DataError(f"{where}: {word!r} is neither yes nor no nor blank")
    return None if word == "" else word == "yes"


def _counted(column: Sequence[bool | None]) -> dict[str, int]:
    return {"yes": sum(value is True for value in column), "of": sum(value is not None for value in column)}
