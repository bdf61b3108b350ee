"""CSV sheets that people fill in a spreadsheet: written so that texts stay texts, read back as spreadsheets save them."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.records import DataError, lines, write_text

FORMULA = ("=", "+", "-", "@")  # a spreadsheet takes text that begins so for a formula


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """DataError where the file exists, since it may hold people's answers."""
    if path.exists():
        raise DataError(f"{path}: exists and may hold answers; move it away or name another file")
    text = io.StringIO()
    csv.writer(text).writerows([columns, *(map(_cell, row) for row in rows)])
    write_text(path, "\ufeff" + text.getvalue())  # with a byte order mark, spreadsheets read it as UTF-8


def read(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row with its place, file and line; DataError where a column of the header is gone.

    Where the comma is the decimal sign, spreadsheets save with semicolons.
    """
    text = "\n".join(lines(path))
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.partition("\n")[0] else ",", restval="")
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}:1: no column {missing[0]!r}; keep the header that was exported")
    for row in reader:
        yield f"{path}:{reader.line_num}", row


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
