"""Read a CSV, TSV, JSON or JSONL file as rows with the place of each, for errors.

The file is data: nothing in it is rendered as a template. Unclear values are refused with their place, not guessed.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.fetch import formats, json_values
from stages.fetch.formats import MOST_COLUMNS, UNUSABLE, kind_of

Row = tuple[str, Mapping[str, Any]]  # the place to name in an error, and the values by column

MISSING = object()
SET_COLUMN = "set data.{key}"  # what to do about a missing column
IF_ROW = "if this line is a row and not the header, write the names of the columns above it; "
VALUE = re.compile(
    r".*[.?!]\s*|-?\d+(?:\.\d+)?|.{60,}", re.DOTALL
)  # cells that are rarely names: sentences, numbers, long texts
NEEDED = ("messages", "output", "options", "group")  # in every JSON object; a row may leave out the others


def read(path: Path, columns: dict[str, str]) -> Iterator[Row]:
    """Yield the rows of a file, each with its place; `columns` maps fields to the column names to look for."""
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: no such file; set data.path")
    with formats.opened(path) as source:
        if suffix not in (".csv", ".tsv", ".json", ".jsonl"):
            raise DataError(f"{path}: must end in .csv, .tsv, .json (a list of objects) or .jsonl (one object per line)")
        if suffix in (".csv", ".tsv"):
            yield from records(path, columns, formats.cells(source))
        else:
            values = json_values.json_list(source) if suffix == ".json" else json_values.json_lines(source)
            yield from objects(path, columns, values)


def records(
    path: Path, columns: dict[str, str], rows: Iterator[tuple[str, list[str]]], hint: str = SET_COLUMN
) -> Iterator[Row]:
    """Yield the rows below a header; raise DataError if it lacks one of the columns, with a hint how to name it."""
    place, header = next(rows, (str(path), []))
    require(place, columns, header, f"{IF_ROW}{hint}" if looks_like_row(header) else hint)
    if twice := [name for name in columns.values() if header.count(name) > 1]:
        raise DataError(f"{place}: column {twice[0]!r} occurs more than once; rename one")
    for place, row in formats.named(rows, header):
        if len(columns) > 1 and all(row[name] == name for name in columns.values()):
            raise DataError(f"{place}: the header of another export; {formats.JOINED}")
        yield place, row


def looks_like_row(header: Iterable[str]) -> bool:
    """Return whether a header has cells that are rarely names of columns."""
    return any(VALUE.fullmatch(cell) for cell in header)


def cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the header and the rows of a CSV or TSV file that are not blank, each with its place."""
    with formats.opened(path) as source:
        yield from formats.cells(source)


def objects(path: Path, columns: dict[str, str], values: Iterable[tuple[str, Any]], hint: str = SET_COLUMN) -> Iterator[Row]:
    """Yield the objects among JSON values; raise DataError for another value, or a column that none of them has."""
    needed = {field: name for field, name in columns.items() if field in NEEDED or field.startswith("also.")}
    known: dict[str, None] = {}
    for place, value in values:
        if not isinstance(value, dict):
            hint = "; name a file with one list .json" if isinstance(value, list) and path.suffix.lower() == ".jsonl" else ""
            raise DataError(f'{place}: must be an object like {{"input": "…", "output": "…"}}, got {kind_of(value)}{hint}')
        value = {**value, **_inner(value, columns.values())}
        known.update(dict.fromkeys(value))
        if len(known) > MOST_COLUMNS:
            raise DataError(f"{place}: more than {MOST_COLUMNS:,} columns in this and the rows above; keep those of the texts")
        require(place, needed, value, hint)
        yield place, value
    if known:  # otherwise a misspelt optional column would silently be empty
        require(str(path), columns, known, hint)


def _inner(value: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what columns such as translation.en name: values of an object in a column."""
    found: dict[str, Any] = {}
    for name in names:
        column, *keys = name.split(".")
        inner = value.get(column)
        for key in keys:
            inner = inner.get(key, MISSING) if isinstance(inner, dict) else MISSING
        if keys and name not in value and inner is not MISSING:
            found[name] = inner
    return found


def require(place: str, columns: Mapping[str, str], present: Collection[str], hint: str = SET_COLUMN) -> None:
    """Raise DataError for the first column that is missing, with the nearest of those that are there."""
    for field, name in columns.items():
        if name not in present:
            folded = {known.strip().lower(): known for known in present}
            close = difflib.get_close_matches(name.lower(), folded, n=1)
            guess = f"did you mean {folded[close[0]]!r}? " if close else ""
            if close and folded[close[0]].strip() == name:
                guess = f"{folded[close[0]]!r} has blanks around it: delete them in the header. "
            shown = ", ".join(repr(known[:40]) for known in list(present)[:30]) or "none"
            key = field if field.startswith("also.") else f"columns.{field}"
            raise DataError(f"{place}: no column {name!r}; {guess}There are {shown}; {hint.format(key=key)}")


def as_text(place: str, name: str, value: Any) -> str:
    """Return a string unchanged and null as ""; refuse numbers, since 7.10 and 007 would lose their spelling."""
    if value is None:
        return ""
    if not isinstance(value, str):
        hint = "quote it" if type(value) in (int, float, bool) else 'write "…"'
        raise DataError(f"{place}: {name!r} must be text, got {kind_of(value)}; {hint}")
    if UNUSABLE.search(value):
        raise DataError(f"{place}: {name!r} holds \\u0000 or half of a surrogate pair, which is not text; remove it")
    return value
