"""Read the file of feedback: its rows by field, each value as text, and the log of the answers that users saw."""

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from stages.errors import DataError
from stages.feedback.records import Answer, Logged
from stages.fetch import formats, json_values, table, turns
from stages.fetch.table import Row, as_text
from stages.params import Feedback
from stages.records import Message, read
from stages.terminal import visible

FIELDS = ("prediction_id", "input", "output", "vote", "correction", "comment", "user", "at", "system", "slice")
HINT = "name the columns in feedback.columns"
WHOLE = ("input", "output", "correction", "comment")  # texts whose blanks count


class Given(NamedTuple):
    """A row of the file: its place, and its texts by field; a field without a value is missing."""

    place: str
    texts: dict[str, str]
    messages: tuple[Message, ...] = ()


def rows(settings: Feedback) -> Iterator[Given]:
    """Yield the rows of the file, nothing from an empty one; raise DataError with file and line for one that is unclear.

    Columns that are not read are printed at the end.
    """
    path, further, seen, is_empty = Path(settings.path), dict[str, None](), set[str](), True
    with formats.opened(path) as source:
        for place, row in _rows(path, source, settings) if source.first else ():
            is_empty = False
            names = _names(settings, row)
            further |= dict.fromkeys(name for name in row if name not in names.values() and not _leads(name, names))
            seen |= names.keys()
            yield _given(place, {field: (name, row.get(name)) for field, name in names.items()}, settings)
    if not is_empty:
        _require_fields(path, seen)
    elif settings.wanted:
        print(visible(f"{path}: has no rows, so nothing is joined"), file=sys.stderr)
    if further:
        print(visible(f"{path}: columns that are not read: {', '.join(further)}"), file=sys.stderr)


def _rows(path: Path, source: formats.Source, settings: Feedback) -> Iterator[Row]:
    named = {} if settings.columns == "auto" else _names(settings, {})
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        cells = formats.cells(source)
        first = next(cells)
        present = {field: field for field in FIELDS if field in first[1]} if settings.columns == "auto" else named
        return table.records(path, present, chain([first], cells), HINT)
    if suffix not in (".json", ".jsonl"):
        raise DataError(f"{path}: must end in .csv, .tsv, .json (a list of objects) or .jsonl (one object per line)")
    values = json_values.json_list(source) if suffix == ".json" else json_values.json_lines(source)
    return table.objects(path, {f"feedback.{field}": name for field, name in named.items()}, values, HINT)


def _names(settings: Feedback, row: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the columns by field."""
    if isinstance(settings.columns, str):
        return {field: field for field in FIELDS if field in row}
    return {field: name for field, name in settings.columns.model_dump().items() if name}


def _leads(name: str, names: dict[str, str]) -> bool:
    """Return whether a column of JSON holds a named value such as metadata.prediction_id."""
    return any(one.startswith(f"{name}.") for one in names.values())


def _require_fields(path: Path, seen: set[str]) -> None:
    """Raise DataError if no row has what names an answer or what says something of it: the columns have other names."""
    if "prediction_id" not in seen and not {"input", "output"} <= seen:
        raise DataError(f"{path}: no column prediction_id, and not both input and output; {HINT}")
    if not {"vote", "correction"} & seen:
        raise DataError(f"{path}: no column vote or correction; {HINT}")


def _given(place: str, values: dict[str, tuple[str, Any]], settings: Feedback) -> Given:
    messages: tuple[Message, ...] = ()
    name, asked = values.get("input", ("", None))
    if isinstance(asked, list):
        messages = tuple(turns.read(place, name, asked))
        if not messages or messages[-1].role == "assistant":
            raise DataError(f"{place}: {name!r} must end with the question of the user; the answer belongs into output")
        values = values | {"input": (name, messages[-1].content)}
    texts = {field: _text(place, field, *value) for field, value in values.items()}
    if texts.get("vote"):
        texts["vote"] = _vote(place, values["vote"][0], texts["vote"], settings)
    return Given(place, {field: text for field, text in texts.items() if text}, messages)


def _text(place: str, field: str, name: str, value: Any) -> str:
    """Return a value as text: objects as JSON, numbers and booleans as written, except where a text is needed."""
    if isinstance(value, dict) and field in ("output", "correction"):
        value = json.dumps(value, ensure_ascii=False)
    if field not in WHOLE and isinstance(value, bool | int | float):
        value = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    text = as_text(place, name, value)
    return text if field in WHOLE and text.strip() else text.strip()


def _vote(place: str, name: str, text: str, settings: Feedback) -> str:
    for vote in ("up", "down"):
        if text.casefold() in {one.casefold() for one in getattr(settings, vote)}:
            return vote
    if text.endswith(".0"):  # a number, as spreadsheets and pandas write it
        return _vote(place, name, text.removesuffix(".0"), settings)
    raise DataError(f"{place}: {name!r} is {text[:40]!r}, neither in feedback.up nor in feedback.down; add it to one of them")


def log(path: Path) -> dict[str, Answer]:
    """Return the answers of a log by their ids; raise DataError with file and line if one does not fit its id."""
    found: dict[str, Answer] = {}
    for number, logged in enumerate(read(path, Logged), start=1):
        answer = logged.answer
        if answer.id != logged.prediction_id:
            raise DataError(
                f"{path}:{number}: prediction_id {logged.prediction_id[:40]!r} does not belong to the answer, whose id is "
                f"{answer.id}: the line was edited; take it from the log that `tunetrail predict` wrote"
            )
        found.setdefault(answer.id, answer)
    return found
