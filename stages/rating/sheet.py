"""CSV sheets that people fill in with a spreadsheet program: texts stay texts, and every usual way of saving is read."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.files import lines, write_text

# A spreadsheet takes text that begins with one of these as a formula, also in another width or after characters without ink.
FORMULA = ("=", "+", "-", "@")
NO_INK = "CZM"  # categories of Unicode: control and format characters, spaces, marks that combine
# Set to another separator, it begins a new cell inside of a text.
SEPARATORS = re.compile(r"([;\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+)")


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
    """Return the value of a cell; an apostrophe before a formula makes every spreadsheet show it as text."""
    if not isinstance(value, str):
        return value
    return "".join(f"'{part}" if _is_formula(part) else part for part in SEPARATORS.split(value))


def _is_formula(part: str) -> bool:
    first = next((sign for sign in part if unicodedata.category(sign)[0] not in NO_INK), "")
    return unicodedata.normalize("NFKC", first) in FORMULA
