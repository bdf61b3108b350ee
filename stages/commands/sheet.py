"""CSV sheets that people fill in with a spreadsheet program: texts stay texts, and every usual way of saving is read."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.files import lines, write_text

# A spreadsheet treats text that begins with one of these as a formula, also in full width and after white space.
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a sheet; raise DataError if the file exists, since it may contain people's answers."""
    if path.exists():
        raise DataError(f"{path}: already exists and may contain answers; move it or name another file")
    text = io.StringIO()
    csv.writer(text).writerows([columns, *(map(_cell, row) for row in rows)])
    write_text(path, "\ufeff" + text.getvalue())  # with a byte order mark, spreadsheets read it as UTF-8


def read(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every row that is not empty, after its file and line; raise DataError if a column of the header is missing.

    In countries with a decimal comma, spreadsheets separate columns with semicolons, some with tabs.
    """
    text = "\n".join(lines(path))
    header = text.partition("\n")[0]
    delimiter = next((sign for sign in ";\t" if sign in header), ",")
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restval="")
    try:
        names = reader.fieldnames or ()
        if missing := [name for name in columns if name not in names]:
            raise DataError(f"{path}:1: no column {missing[0]!r}; keep the header that was exported")
        for row in reader:
            if any(row[name].strip() for name in names):
                yield f"{path}:{reader.line_num}", row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV: {error}; close its quotes or save the sheet again") from error


def _cell(value: Any) -> Any:
    """Return the value of a cell; an apostrophe before a text makes every spreadsheet show it as text."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" \ufeff\xa0\u3000").startswith(FORMULA) else value
