"""Read a CSV, JSON or JSONL file as rows with the place of each, for errors.

The file is data: nothing in it is rendered as a template. Unclear values are refused with their place, not guessed.
"""

import csv
import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from stages.errors import DataError

Row = tuple[str, Mapping[str, Any]]  # the place to name in an error, and the values by column

NEEDED = ("messages", "output", "options", "group")  # in every JSON object; a row may leave out the others
KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}

DEEPEST = 100  # lists and objects in each other

# NUL, and surrogates, which come from bytes that are not UTF-8 and from half an escaped pair such as \ud83d in JSON.
UNUSABLE = re.compile("[\0\ud800-\udfff]")


def read(path: Path, columns: dict[str, str]) -> Iterator[Row]:
    """Yield the rows of a file, each with its place; `columns` maps fields to the column names to look for."""
    readers = {".csv": _csv, ".json": _json, ".jsonl": _jsonl}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: must end in .csv, .json (a list of objects) or .jsonl (one object per line)")
    return readers[path.suffix.lower()](path, columns)


def _csv(path: Path, columns: dict[str, str]) -> Iterator[Row]:
    rows = cells(path)
    place, header = next(rows, (str(path), []))
    _require(place, columns, header)
    if twice := [name for name in columns.values() if header.count(name) > 1]:
        raise DataError(f"{place}: column {twice[0]!r} occurs more than once; rename one")
    for place, row in rows:
        if len(row) != len(header):
            hint = 'a cell with a comma, a quote or a line end must stand in "…"'
            raise DataError(f"{place}: {len(row)} cells, but the header has {len(header)}; {hint}")
        yield place, dict(zip(header, row, strict=True))


def cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows that are not blank, each with its first line; a quoted cell may run over many lines."""
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than a long document
    reader = csv.reader(_lines(path), strict=True)
    start = 1
    try:
        for cells in reader:
            if any(cells):
                yield f"{path}:{start}", cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f'{path}:{start}: not CSV: {error}; close each "…" and write "" for a quote inside') from None


def _jsonl(path: Path, columns: dict[str, str]) -> Iterator[Row]:
    hint = "each line must be one object; name a file with one list .json"
    lines = ((number, line) for number, line in enumerate(_lines(path), start=1) if not line.isspace())
    return objects(path, columns, ((f"{path}:{number}", _decoded(path, number, line, hint)) for number, line in lines))


def _json(path: Path, columns: dict[str, str]) -> Iterator[Row]:
    hint = "name a file with one object per line .jsonl"
    found = _decoded(path, 1, "".join(_lines(path)), hint)
    if not isinstance(found, list):
        raise DataError(f"{path}: must hold a list of objects, got {kind_of(found)}; {hint}")
    return objects(path, columns, ((f"{path}: row {number}", value) for number, value in enumerate(found, start=1)))


def objects(path: Path, columns: dict[str, str], values: Iterable[tuple[str, Any]]) -> Iterator[Row]:
    needed = {field: name for field, name in columns.items() if field in NEEDED or field.startswith("also.")}
    known: dict[str, None] = {}
    for place, value in values:
        if not isinstance(value, dict):
            raise DataError(f'{place}: must be an object like {{"input": "…", "output": "…"}}, got {kind_of(value)}')
        _require(place, needed, value)
        known.update(dict.fromkeys(value))
        yield place, value
    if known:  # otherwise a misspelt optional column would silently be empty
        _require(str(path), columns, known)


def _lines(path: Path) -> Iterator[str]:
    """Yield lines of valid UTF-8, at least one not blank; \\r\\n is read as \\n, so that ids are equal on Windows."""
    empty = True
    try:
        # surrogateescape lets a bad byte through as a surrogate, so that its line can be named.
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, start=1):
                if broken := UNUSABLE.search(line):
                    what = "a NUL byte" if broken[0] == "\0" else "not UTF-8"
                    raise DataError(f"{path}:{number}: {what}; save the file as UTF-8 text (Excel: CSV UTF-8)")
                empty = empty and line.isspace()
                yield line
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set data.path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}; set data.path to a file you can read") from None
    if empty:
        raise DataError(f"{path}: the file is empty; set data.path to one with rows")


def _decoded(path: Path, line: int, text: str, hint: str) -> Any:
    try:
        return loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{line + error.lineno - 1}"
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}; {hint}") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: not JSON: {error}; {hint}") from None


def loads(text: str) -> Any:
    """Parse JSON without NaN and Infinity, and not nested too deeply; raise only ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON value")

    try:
        found = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    refuse_deep(found)
    return found


def refuse_deep(value: Any) -> None:
    """Raise ValueError if a value has more levels than a later stage can surely read and write."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        if not (level := list(chain.from_iterable(inner))):
            return
    raise ValueError(f"nested too deeply: more than {DEEPEST} lists or objects in each other")


def _require(place: str, columns: Mapping[str, str], present: Collection[str]) -> None:
    for field, name in columns.items():
        if name not in present:
            folded = {known.strip().lower(): known for known in present}
            close = difflib.get_close_matches(name.lower(), folded, n=1)
            guess = f"did you mean {folded[close[0]]!r}? " if close else ""
            shown = ", ".join(repr(known[:40]) for known in list(present)[:30]) or "none"
            key = field if field.startswith("also.") else f"columns.{field}"
            raise DataError(f"{place}: no column {name!r}; {guess}There are {shown}; set data.{key}")


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


def kind_of(value: Any) -> str:
    return KINDS.get(type(value), "a number")
