"""A CSV of sampled synthetic rows in which people answer the audit questions of Self-Instruct, and their answers counted.

The questions are those of Wang et al. 2023 (arXiv:2212.10560, table 2); an answer is yes, no or blank (not judged).
"""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.records import DataError, Task, lines, write_text

QUESTIONS = {
    "valid_task": "Does the instruction describe a valid task?",
    "fitting_input": "Is the input appropriate for the instruction?",
    "correct_output": "Is the output a correct and acceptable response to the instruction and input?",
}
TEXTS = ("id", "method", "instruction", "input", "output")


def export(path: Path, tasks: Mapping[str, Sequence[Task]], count: int, seed: int) -> int:
    """Write `count` rows, sampled over all methods; DataError where the file exists, since it may hold people's answers."""
    if path.exists():
        raise DataError(f"{path}: exists and may hold answers; move it away or name another file")
    made = [(method, task) for method, own in tasks.items() for task in own if task.parents]  # authored seeds have none
    if not made:
        raise DataError("data/synthetic: no synthetic rows to judge; run `dvc repro` with a method of synthesis first")
    chosen = random.Random(seed).sample(made, min(count, len(made)))
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow([*TEXTS, *QUESTIONS.values()])
    writer.writerows([task.id, method, *map(_cell, _texts(task)), *[""] * len(QUESTIONS)] for method, task in chosen)
    write_text(path, "\ufeff" + sheet.getvalue())  # with a byte order mark, spreadsheets read it as UTF-8
    return len(chosen)


def answers(path: Path, tasks: Mapping[str, Sequence[Task]]) -> dict[str, Any]:
    """Yes and answered, for each question and for all of them together; DataError names line and column of a bad answer."""
    known = {task.id for own in tasks.values() for task in own}
    reader = csv.DictReader(io.StringIO("\n".join(lines(path))))
    if missing := [name for name in ("id", *QUESTIONS.values()) if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}:1: no column {missing[0]!r}; keep the header that `tunetrail audit export` wrote")
    judged = []
    for row in reader:
        if row["id"] not in known:
            raise DataError(f"{path}:{reader.line_num}: {row['id']!r} is no row of data/synthetic: export a new sheet")
        judged.append([_answer(row[question], f"{path}:{reader.line_num}: {question}") for question in QUESTIONS.values()])
    columns = dict(zip(QUESTIONS, zip(*judged, strict=True), strict=True)) if judged else dict.fromkeys(QUESTIONS, ())
    return {
        "rows": len(judged),
        "questions": {name: {"question": QUESTIONS[name], **_counted(column)} for name, column in columns.items()},
        "all": _counted([None if None in row else all(row) for row in judged]),
    }


def _texts(task: Task) -> tuple[str, str, str]:
    history = [f"{message.role}: {message.content}" for message in task.history]
    return "\n".join(part for part in (task.system, *history, task.instruction) if part), task.input, task.output


def _cell(text: str) -> str:
    """A spreadsheet takes text that begins like a formula for one."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _answer(text: str | None, where: str) -> bool | None:
    word = (text or "").strip().lower()
    if word not in ("", "yes", "no"):
        raise DataError(f"{where}: {word!r} is neither yes nor no nor blank")
    return None if word == "" else word == "yes"


def _counted(column: Sequence[bool | None]) -> dict[str, int]:
    return {"yes": sum(value is True for value in column), "of": sum(value is not None for value in column)}
