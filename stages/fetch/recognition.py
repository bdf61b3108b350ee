"""Open a table of rows and recognise from its first rows which column holds what, for `data.columns: auto`.

A shape is recognised only if its names fit and no other shape does; anything else is refused with the columns that are there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.errors import DataError
from stages.fetch import formats, hub, options, table
from stages.fetch.strict_json import loads
from stages.fetch.table import Row
from stages.figures import Recognised
from stages.params import SLOT, Columns, RowsData

FIRST = 100  # rows that are looked at

OPENAI, SHAREGPT, PAIRS = "OpenAI messages", "ShareGPT", "chosen/rejected"
CHATS = ("messages", "conversations", "conversation")
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
BEFORE = ("context", "passage", "article", "premise", "ctx", "paragraph", "story", "document", "background", "dialogue")
ASKED = ("question", "input", "prompt", "query", "text", "sentence", "hypothesis", "instruction")
PARTS = {*BEFORE, *ASKED, "sentence2", "text_pair"} - {"prompt", "text", "sentence"}  # these often repeat a whole prompt
RIGHT = ("chosen", "completion", "output", "response", *options.RIGHT, "answers", "label_text", "label", "summary", "target")
APART = re.compile(r"(?:(?:option|choice|opt|ending|distractor|sol)[ _]?[a-d0-4]|[a-d])")  # an option in a column of its own
TURN = {OPENAI: {"role", "content"}, SHAREGPT: {"from", "value"}}


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
            if number >= FIRST and _folded(name) in usual:
                raise DataError(f"{place}: a column {name!r}, which no row before it has; name yours in data.columns")
            further[name] = None
            lost += [name] if _folded(name) in parts else []
        for name in lost:
            if row.get(name):
                raise DataError(f"{place}: data.columns = auto: {shape} does not read {name!r}; {_with(name, data)}")
        yield place, row


def _with(name: str, data: NamedRows) -> str:
    """Return how to read a further column, if a field is free for it, and how to leave it out."""
    columns = {field: column for field, column in data.columns if column}
    without = f"data.columns={_written(columns)}"
    if free := [field for field in ("instruction", "input") if field not in columns]:
        return f"to read it, set data.columns={_written({free[0]: name} | columns)}; to leave it out, set {without}"
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
        raise DataError(f"{found} has two answers, and a row one right one; to train on the chosen: {_remedy(path, rows)}")
    if "options" not in columns and shape not in TURN and (apart := _apart(_present(rows))):
        raise DataError(f"{found} does not read all options; {apart}")
    if shape == "prompt/completion" and any(type(row.get("label")) is bool for row in rows):
        raise DataError(
            f"{found} has a column 'label' that is true or false: rows marked false are answers to avoid; delete them, and "
            f"set data.columns={_written(columns)}"
        )
    if "history" in _present(rows) and shape == "Alpaca" and any(row.get("history") for row in rows):
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
    present = _present(rows)
    fits: dict[str, dict[str, list[str]]] = {}
    for shape, needed in NEEDED.items():
        found = {field: _matching(present, names) for field, names in _names(shape).items()}
        if shape in TURN:
            found["messages"] = [name for name in found["messages"] if any(_is_chat(row, name, shape) for row in rows)]
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
        raise DataError(f"{path}: data.columns = auto: {what}; {there}; {_remedy(path, rows)}")
    (shape,) = widest
    for field, names in fits[shape].items():
        if len(names) > 1 and not any({_folded(name) for name in names} <= same for same in SAME):
            both = " or ".join(map(repr, names))
            hint = f"name it, e.g. data.columns={_written({**{f: n[0] for f, n in fits[shape].items()}, field: names[0]})}"
            raise DataError(f"{path}: data.columns = auto: {shape}, whose {field} is {both}; {hint}")
    return shape, {field: names[0] for field, names in fits[shape].items()}


def _present(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(rows)))


def _matching(present: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns with one of the names, whatever their case, in the order of the names."""
    return [column for name in names for column in present if _folded(column) == name]


def _folded(name: str) -> str:
    return name.strip().lower()


def _is_chat(row: Mapping[str, Any], name: str, shape: str) -> bool:
    """Return whether the value of a column, a list or its JSON, has turns with the keys of the shape."""
    turns = _list(row.get(name))
    return bool(turns) and isinstance(turns[0], dict) and TURN[shape] <= turns[0].keys()


def _list(value: Any) -> list[Any]:
    """Return a list, or the one whose JSON a text is; otherwise an empty one."""
    try:
        found = loads(value) if isinstance(value, str) else value
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _are_turns(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(isinstance(row.get(name), list) and any(_is_chat(row, name, shape) for shape in TURN) for row in rows)


def _remedy(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what to do about rows of no shape: if possible, an example of columns that reads them."""
    present = [name for name in _present(rows) if _folded(name) not in ("", "id", "idx", "index", "rejected")]
    is_table = path.suffix.lower() in (".csv", ".tsv")
    if is_table and (table.looks_like_row(present) or any(row.get(name) == name for row in rows for name in present)):
        return f"{table.IF_ROW}otherwise name yours in data.columns"
    if apart := _apart(present):
        return apart
    chats = [name for name in present if any(_is_chat(row, name, shape) for row in rows for shape in TURN)]
    chats.sort(key=lambda name: _folded(name) not in CHATS)
    if whole := [name for name in chats if all(_is_whole(row.get(name)) for row in rows)]:
        return f"set e.g. data.columns={_written({'messages': whole[0]})}"
    if chats:
        return f"join the turns of {' and '.join(map(repr, chats[:10]))} as one list in a column 'messages'"
    if len(rows) == 1 and (hint := formats.within(rows[0])):
        return hint
    return _example(present, rows) or "there must be a column with the question and one with the right answer as text"


def _apart(present: Sequence[str]) -> str:
    """Return that options have columns of their own, and what to do; "" if there are no such columns."""
    apart = [name for name in present if APART.fullmatch(_folded(name))]
    names = ", ".join(map(repr, apart[:10]))
    return f"write {names} as a list, in CSV as JSON, in one column 'options'" if len(apart) > 1 else ""


def _is_whole(value: Any) -> bool:
    """Return whether turns begin before an answer and end with one."""
    turns = [turn.get("role", turn.get("from")) if isinstance(turn, dict) else None for turn in _list(value)]
    return len(turns) > 1 and turns[0] not in ("assistant", "gpt") and turns[-1] in ("assistant", "gpt")


def _example(present: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the settings that most likely read rows of question and answer; "" if nothing looks like them."""
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in present}
    texts = [name for name in present if values[name] and all(isinstance(value, str) for value in values[name])]
    answers = [name for name in _matching(present, RIGHT) if values[name]] or texts[1:]
    if not answers:
        return ""
    answer, also = answers[0], ""
    asked = [name for name in (*_matching(texts, ASKED), *_matching(texts, BEFORE), *texts) if name != answer]
    if not asked:
        return ""
    before = [name for name in _matching(texts, BEFORE) if name not in (answer, asked[0])]
    columns = ({"instruction": before[0]} if before else {}) | {"input": asked[0]}
    if count := {name: found for name in present if name not in (answer, asked[0]) and (found := _count(rows, name, answer))}:
        columns["options"], also = next(iter(count)), " data.task=choice"
        if all(isinstance(value, str) and value.isdecimal() for value in values[answer]):
            also += f" data.labels={options.codes(count[columns['options']])}"
    elif all(type(value) in (int, bool) for value in values[answer]):
        codes = sorted({json.dumps(value) for value in values[answer]})
        if not 2 <= len(codes) <= 26:
            return ""
        also = f" data.task=classification data.labels={{{', '.join(f'{code}: name_{code}' for code in codes)}}}"
    inner = all(isinstance(value, dict) and "text" in value for value in values[answer])  # SQuAD
    return f"set e.g. data.columns={_written(columns | {'output': f'{answer}.text' if inner else answer})}{also}"


def _count(rows: Sequence[Mapping[str, Any]], name: str, answer: str) -> int:
    """Return the largest number of options that a column holds, 0 if it holds none of which the answers name one."""
    most = 0
    for row in rows:
        try:
            given = options.texts("", name, row.get(name))
            right: Any = row.get(answer)
            counted = isinstance(right, str) and right.isdecimal() and right not in given and int(right[:4]) < len(given)
            options.right("", answer, int(right) if counted else right, given)
        except DataError:
            return 0
        most = max(most, len(given))
    return most


def _written(columns: Mapping[str, str]) -> str:
    """Return columns as they are written in YAML and on the command line, which read some names only in quotes."""
    plain = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z][\w.-]*", re.ASCII | re.IGNORECASE)
    quoted = {field: name if plain.fullmatch(name) else json.dumps(name, ensure_ascii=False) for field, name in columns.items()}
    return f"{{{', '.join(f'{field}: {name}' for field, name in quoted.items())}}}"
