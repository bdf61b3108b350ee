"""Write the answers of `tunetrail predict` as JSON Lines, which at the end become a file of the form that its name asks for.

A file appears only when it is complete. Rows that an interrupted run left are kept up to its last complete batch.
"""

import csv
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from stages.errors import DataError
from stages.files import lines, printable, require_regular
from stages.terminal import inert
from stages.text.objects import parsed
from stages.text.thoughts import Marks, separated

PREDICTION, THOUGHTS, ID, OBJECT = (
    "prediction",
    "thoughts",
    "prediction_id",
    ("parsed", "valid"),
)  # columns of an answer; OBJECT is for JSON alone
ENDINGS = (".jsonl", ".json", ".csv", ".tsv")


class Given(NamedTuple):
    """An answer: its columns of the output, and whether the model ended it by itself."""

    columns: dict[str, Any]
    stopped: bool


def require_form(target: Path) -> None:
    """Raise DataError unless the output may be written there, in the form of its ending."""
    require_regular(target)
    if target.suffix.lower() not in ENDINGS:
        raise DataError(f"--output {target}: must end in .jsonl, .json, .csv or .tsv")


def columns(systems: Collection[str], of_object: bool, think: bool, logged: bool = False) -> list[str]:
    """Return the columns of the answers, which rows may not have: those of one system, or one for each of several."""
    names = [PREDICTION, *([THOUGHTS] if think else []), *(OBJECT if of_object else ()), *([ID] if logged else [])]
    return names if len(systems) == 1 else [*systems, *(f"{system}.{name}" for system in systems for name in names)]


def answer(text: str, of_object: bool, marks: Marks | None) -> dict[str, Any]:
    """Return the columns of an answer; with `marks` the thoughts before it are apart."""
    before, text = separated(text, marks) if marks else ("", text)
    found: dict[str, Any] = {PREDICTION: text, **({THOUGHTS: before} if marks else {})}
    value = parsed(text) if of_object else None
    return found | (dict(zip(OBJECT, (value, value is not None), strict=True)) if of_object else {})


def line(row: Mapping[str, Any]) -> str:
    return inert(printable(json.dumps(row, ensure_ascii=False))) + "\n"


def whole_batches(part: Path, batch_size: int, most: int | None = None) -> int:
    """Cut the file of an interrupted run after its last complete batch, or after `most` rows; return the rows kept."""
    if not part.is_file():
        return 0
    rows, size, kept, length = 0, 0, 0, 0
    with part.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n") or rows == most:
                break
            rows, size = rows + 1, size + len(line)
            if rows % batch_size == 0:
                kept, length = rows, size
        file.truncate(length)
    return kept


def finish(part: Path, target: Path, systems: Collection[str]) -> None:
    """Make a file of complete rows the output. `systems` name the columns with answers of several systems."""
    suffix = target.suffix.lower()
    if suffix == ".jsonl":
        part.replace(target)
        return
    made = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with made.open("w", encoding="utf-8", newline="") as file:
            if suffix == ".json":
                _write_list(file, part)
            else:
                _write_table(file, part, "\t" if suffix == ".tsv" else ",", systems)
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
    part.unlink()


def _write_list(file: IO[str], part: Path) -> None:
    separator = "[\n"
    for line in lines(part):
        file.write(separator + line)
        separator = ",\n"
    file.write("\n]\n" if separator == ",\n" else "[]\n")


def _write_table(file: IO[str], part: Path, separator: str, systems: Collection[str]) -> None:
    """Write a column for each key of any row; what is not text is written as JSON, null as an empty cell."""
    columns = dict.fromkeys(name for row in _flat_rows(part, systems) for name in row)
    writer = csv.DictWriter(file, columns, restval="", delimiter=separator)
    if columns:
        writer.writeheader()
    for row in _flat_rows(part, systems):
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _flat_rows(part: Path, systems: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows with the answers of a system as columns such as `tuned.prediction`."""
    for line in lines(part):
        flat: dict[str, Any] = {}
        for name, value in json.loads(line).items():
            flat |= {f"{name}.{key}": of for key, of in value.items()} if name in systems else {name: value}
        yield flat


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
