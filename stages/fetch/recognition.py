"""Open a table of rows and recognise from its first rows which column holds what, for `data.columns: auto`.

A shape is recognised only if its names fit and no other shape does; anything else is refused with the columns that are there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.errors import DataError
from stages.fetch import hub, options, table
from stages.fetch.columns import ASKED, BEFORE, CHATS, OPENAI, SHAREGPT, TURN, folded, is_chat, matching, present_in
from stages.fetch.suggestion import join_options, remedy, written
from stages.fetch.table import Row
from stages.figures.rows import Recognised
from stages.params import SLOT, Columns, RowsData

FIRST = 100  # rows that are looked at

PAIRS = "chosen/rejected"
SYSTEM = ("system", "system_prompt")
# By shape the names that a field's column may have, in lower case. Of chats the keys of a turn decide as well.
NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    OPENAI: {"messages": CHATS},
    SHAREGPT: {"messages": CHATS},
    "Alpaca": {"instruction": ("instruction",), "output": ("output", "response")},
    "input/output": {"input": ("input",), "output": ("output",)},
    "prompt/completion": {"input": ("prompt",), "output": ("completion", "response")},
    "question/options/answer": {
        "input": ("question",),
        "options": ("options", "choices"),
        "output": options.RIGHT,
    },
    "question/answer": {"input": ("question",), "output": ("answer", "response")},
    "text/label": {"input": ("text", "sentence"), "output": ("label_text", "label")},
    PAIRS: {"output": ("chosen",), "rejected": ("rejected",)},
}
OPTIONAL: dict[str, dict[str, tuple[str, ...]]] = {
    OPENAI: {"tools": ("tools",)},
    SHAREGPT: {"tools": ("tools",)},
    "Alpaca": {"input": ("input", "context")},
    "question/options/answer": {"instruction": ("context", "passage", "article")},
    "question/answer": {"instruction": ("context", "passage", "article")},
    PAIRS: {"input": ("prompt",)},
}
# Names of one thing, of which the first is read.
SAME = ({*options.RIGHT}, {"label_text", "label"})
# Names of columns that hold a part of the question, so that a shape that does not read them would lose it.
PARTS = {*BEFORE, *ASKED, "sentence2", "text_pair"} - {"prompt", "text", "sentence"}  # these often repeat a whole prompt


class NamedRows(RowsData):
    """Rows whose columns are named, by the user or by what was recognised."""

    columns: Columns


@dataclass(frozen=True)
class Opened:
    """The rows of a table by published split, under "" those that are divided; `shape` is empty if the user named the columns.

    `further` names the columns that are not read, of the rows so far.
    """

    data: NamedRows
    path: Path
    rows: Mapping[str, Iterator[Row]]
    shape: str
    further: Mapping[str, None]

    @property
    def meaning(self) -> Recognised:
        """Return what data/raw/columns.json holds."""
        return Recognised(shape=self.shape or None, columns=read_columns(self.data), further=list(self.further))


def opened(data: RowsData, snapshot: Path | None = None) -> Opened:
    """Open `data.path`, or `data.hub` in its `snapshot`; raise DataError if `auto` finds no shape in it or several.

    Of published splits the first, train, decides what is recognised.
    """
    parts = {split: name for split, name in data.splits if name} if data.splits else {"": ""}
    (split, name), *others = parts.items()
    if data.hub and snapshot:
        path = Path(data.hub.repo)
        values = hub.rows(data.hub, snapshot, name or data.hub.split or "")
        first = list(islice(values, FIRST))
        named, shape = _named(path, data, [value for _, value in first if isinstance(value, dict)])
        found = {split: chain(first, values)} | {other: hub.rows(data.hub, snapshot, name) for other, name in others}
        rows = {split: table.objects(path, read_columns(named), values) for split, values in found.items()}
    else:
        path = Path(data.path)
        if data.splits and not path.is_dir():
            raise DataError(f"{path}: not a folder with {', '.join(parts.values())}, which data.splits names; set data.path")
        named, shape = _named(path / name, data, [row for _, row in islice(table.read(path / name, {}), FIRST)])
        rows = {split: table.read(path / name, read_columns(named)) for split, name in parts.items()}
    further: dict[str, None] = {}
    return Opened(named, path, {split: _watched(part, named, shape, further) for split, part in rows.items()}, shape, further)


def _watched(rows: Iterator[Row], data: NamedRows, shape: str, further: dict[str, None]) -> Iterator[Row]:
    """Yield the rows and note further columns; raise DataError for one that would have changed what was recognised."""
    used = {*read_columns(data).values(), *(name for wording in data.wordings for name in SLOT.findall(wording.text))}
    used |= {name.partition(".")[0] for name in used}  # translation.en is in the column translation
    usual = {name for names in _names(shape).values() for name in names} if shape else set()
    parts = PARTS if shape and shape not in TURN else set()
    lost: list[str] = []
    for number, (place, row) in enumerate(rows):
        for name in [name for name in row if name not in used and name not in further]:
            if number >= FIRST and folded(name) in usual:
                raise DataError(f"{place}: a column {name!r}, which no row before it has; name yours in data.columns")
            further[name] = None
            lost += [name] if folded(name) in parts else []
        for name in lost:
            if row.get(name):
                raise DataError(f"{place}: data.columns = auto: {shape} does not read {name!r}; {_with(name, data)}")
        yield place, row


def _with(name: str, data: NamedRows) -> str:
    """Return how to read a further column, if a field is free for it, and how to leave it out."""
    columns = {field: column for field, column in data.columns if column}
    without = f"data.columns={written(columns)}"
    if free := [field for field in ("instruction", "input") if field not in columns]:
        return f"to read it, set data.columns={written({free[0]: name} | columns)}; to leave it out, set {without}"
    return f"join it with {columns['input']!r} in one column; to leave it out, set {without}"


def _names(shape: str) -> dict[str, tuple[str, ...]]:
    return NEEDED[shape] | OPTIONAL.get(shape, {}) | {"system": SYSTEM}


def read_columns(data: NamedRows) -> dict[str, str]:
    """Return the columns that are read by the field that names them."""
    columns = {field: name for field, name in data.columns if name}
    return columns | {f"also.{number}.output": further.output for number, further in enumerate(data.also)}


def _named(path: Path, data: RowsData, rows: Sequence[Mapping[str, Any]]) -> tuple[NamedRows, str]:
    """Return the data with named columns, and the recognised shape."""
    if data.columns != "auto":
        return NamedRows.model_validate(data.model_dump()), ""
    if not rows:
        raise DataError(f"{path}: no rows in it, only a header or an empty list; add rows")
    shape, columns = _recognised(path, rows)
    found = f"{path}: data.columns = auto: {shape} ({', '.join(columns.values())})"
    if shape == PAIRS:
        raise DataError(f"{found} has two answers, and a row one right one; to train on the chosen: {remedy(path, rows)}")
    if "options" not in columns and shape not in TURN and (hint := join_options(present_in(rows))):
        raise DataError(f"{found} does not read all options; {hint}")
    if shape == "prompt/completion" and any(type(row.get("label")) is bool for row in rows):
        raise DataError(
            f"{found} has a column 'label' that is true or false: rows marked false are answers to avoid; delete them, and "
            f"set data.columns={written(columns)}"
        )
    if "history" in present_in(rows) and shape == "Alpaca" and any(row.get("history") for row in rows):
        raise DataError(
            f"{found} has a column 'history', which would be lost; write the turns as messages, a list of role and content"
        )
    if "options" in columns and data.task != "choice":
        raise DataError(f"{found} is multiple choice, but data.task = {data.task}; set data.task=choice")
    if data.task == "choice" and "options" not in columns:
        raise DataError(f"{found} has no options, but data.task = choice needs them; set data.task, or data.columns.options")
    try:
        return NamedRows.model_validate(data.model_dump() | {"columns": columns}), shape
    except ValidationError as error:
        raise DataError(f"{found}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def _recognised(path: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return the one shape that fits, and the names of its columns by field."""
    present = present_in(rows)
    fits: dict[str, dict[str, list[str]]] = {}
    for shape, needed in NEEDED.items():
        found = {field: matching(present, names) for field, names in _names(shape).items()}
        if shape in TURN:
            found["messages"] = [name for name in found["messages"] if any(is_chat(row, name, shape) for row in rows)]
        elif shape != PAIRS:  # TRL's prompts and completions may be turns
            found = {field: [name for name in names if not _are_turns(rows, name)] for field, names in found.items()}
        if all(found[field] for field in needed):
            fits[shape] = {field: names for field, names in found.items() if names}
    claimed = {shape: set(chain.from_iterable(found.values())) for shape, found in fits.items()}
    widest = [shape for shape in fits if not any(claimed[shape] < claimed[other] for other in fits)]
    there = f"the columns are {', '.join(repr(name[:40]) for name in present[:30])}"
    if len(widest) != 1:
        parts = [f"{shape} ({', '.join(names[0] for names in fits[shape].values())})" for shape in widest]
        what = f"fits {len(widest)} shapes, {' and '.join(parts)}" if widest else "no known shape"
        raise DataError(f"{path}: data.columns = auto: {what}; {there}; {remedy(path, rows)}")
    (shape,) = widest
    for field, names in fits[shape].items():
        if len(names) > 1 and not any({folded(name) for name in names} <= same for same in SAME):
            both = " or ".join(map(repr, names))
            hint = f"name it, e.g. data.columns={written({**{f: n[0] for f, n in fits[shape].items()}, field: names[0]})}"
            raise DataError(f"{path}: data.columns = auto: {shape}, whose {field} is {both}; {hint}")
    return shape, {field: names[0] for field, names in fits[shape].items()}


def _are_turns(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(isinstance(row.get(name), list) and any(is_chat(row, name, shape) for shape in TURN) for row in rows)
