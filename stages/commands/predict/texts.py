"""Read what `tunetrail predict` answers: a text per line, a table or JSON, by what the content is.

Each row becomes a task; all its columns are kept for the output. Rows have the columns of the run's own rows. A line of a
.txt file is always a text, also where it looks like something else: others may have written it.
"""

import csv
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from stages.errors import DataError
from stages.fetch import choices, formats, json_values, options, table, templates, turns
from stages.fetch.formats import Source
from stages.fetch.table import Row, as_text
from stages.files import read_json
from stages.params import SLOT, Data, RowsData
from stages.records import Message, Task, TaskKind
from stages.terminal import visible
from stages.text.objects import parsed

RECOGNISED = Path("data/raw/columns.json")  # what fetch recognised if data.columns is auto
ASKED = ("messages", "tools", "system", "instruction", "input", "options")  # fields of a prompt
JSON_BEGINS = re.compile(r'\{\s*("|$)|\[\s*(\{|$)')
TABLES, JSON = (".csv", ".tsv"), (".json", ".jsonl")
RENAME = "rename it in the file"
LONGEST_HEADER = 100_000  # characters; the csv module refuses longer cells
SURROGATE = re.compile("[\ud800-\udfff]")


class Asked(NamedTuple):
    """A task, whose source is its place in the input, and all columns of its row."""

    task: Task
    row: Mapping[str, Any]


class Columns(NamedTuple):
    """Column names by field: those that are read if they are there, and those that must be there."""

    read: dict[str, str]
    needed: dict[str, str]


def columns(data: Data) -> Columns:
    """Return the columns of the run's prompts; where rows have none, a text is `input`."""
    if not isinstance(data, RowsData):
        return Columns({name: name for name in ("system", "instruction", "input")}, {"input": "input"})
    if data.columns == "auto" and not RECOGNISED.is_file():
        raise DataError(f"{RECOGNISED}: no such file, and data.columns is auto; run `dvc repro fetch` or `dvc pull`")
    named = read_json(RECOGNISED)["columns"] if data.columns == "auto" else data.columns.model_dump()
    asked = {field: named[field] for field in ASKED if named.get(field)}
    if not data.wordings:
        return Columns(asked, asked)
    slots = SLOT.findall(data.wordings[templates.usual(data.wordings) - 1].text)
    asked = {field: name for field, name in asked.items() if field not in ("instruction", "input")}
    return Columns(asked, asked | {f"wordings: {name}": name for name in slots})


def read(source: str, data: Data, reserved: Collection[str] = ()) -> Iterator[Asked]:
    """Yield what to ask from a file, or from standard input for "-"; nothing from an empty one.

    Raise DataError for a file of another form, a row that asks nothing, and a column with a reserved name.
    """
    is_text = source.lower().endswith(".txt")
    opened = nullcontext(formats.source(sys.stdin.buffer, "-")) if source == "-" else formats.opened(Path(source), is_text)
    with opened as file:
        asked = columns(data)
        found = None if is_text or not file.first else _rows(file, asked)
        if found is None:
            yield from _lines(file, data)
            return
        for place, row in found:
            _check_row(place, row, reserved)
            yield Asked(_task(place, row, asked, data), row)


def _lines(file: Source, data: Data) -> Iterator[Asked]:
    missing = lacked(data)
    for number, line in enumerate(formats.broken(formats.text_lines(file)) if file.first else (), start=1):
        text = line.rstrip("\r\n")
        if text.strip():
            if missing:
                _warn(file.name, missing)
            task = Task(kind="text", system=data.system, input=text, output="", source=f"{file.name}:{number}")
            yield Asked(task, {"input": text})


def lacked(data: Data) -> str:
    """Return what prompts in training have and a plain text, one column of them, lacks, with a remedy; "" if nothing."""
    if not isinstance(data, RowsData):
        return ""
    if data.wordings:
        return "a wording of data.wordings; write each line as one of these"
    read = columns(data).read
    text = "input" if "input" in read else "instruction"
    names = [repr(name) for field, name in read.items() if field not in (text, "messages")]
    return f"{' and '.join(names)}; give rows with the columns of the training rows" if names else ""


@cache  # the lines are read several times
def _warn(name: str, lacked: str) -> None:
    print(visible(f"warning: {name}: plain lines lack what the prompts in training have: {lacked}"), file=sys.stderr)


def _rows(file: Source, asked: Columns) -> Iterator[Row] | None:
    """Return the rows of a table or of JSON; None for lines of text, which only a file without an ending may have."""
    path = Path(file.name)
    suffix, is_table = path.suffix.lower(), _has_header(file, asked)
    if JSON_BEGINS.match(file.first) or (suffix in JSON and not is_table):
        is_list = file.first.startswith("[") or (suffix == ".json" and parsed(file.first) is None)
        values = json_values.json_list(file) if is_list else json_values.json_lines(file)
        return table.objects(path, asked.needed, values, RENAME)
    if suffix in TABLES or is_table:
        return table.records(path, asked.needed, _named_once(formats.cells(file)), RENAME)
    if suffix:
        known = "a table (.csv, .tsv), JSON (.json, .jsonl) or a text per line (.txt)"
        raise DataError(f"{path}: not known what it holds; save it as {known}, with that ending")
    return None


def _named_once(cells: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a table; raise DataError if two columns have one name, since the output would lose one."""
    for place, header in islice(cells, 1):
        if twice := [name for name in header if header.count(name) > 1]:
            raise DataError(f"{place}: column {twice[0]!r} occurs more than once; rename one")
        yield place, header
    yield from cells


def _has_header(file: Source, asked: Columns) -> bool:
    """Return whether the first line names all columns that a row needs; one with a blank after a separator is a sentence.

    Any usual separator will do. The first cell may be empty, as that of a data frame's index is.
    """
    line = "".join(file.first.splitlines()[:1])[:LONGEST_HEADER]
    for separator in (",", "\t", *formats.SEPARATORS):
        cells = next(csv.reader([line], delimiter=separator), [])
        is_plain = all(cell and cell == cell.strip() for cell in cells[1:]) and len(set(cells)) == len(cells)
        if is_plain and set(asked.needed.values()) <= set(cells):
            return True
    return False


def _check_row(place: str, row: Mapping[str, Any], reserved: Collection[str]) -> None:
    """Raise DataError unless the output can hold the row and the answers side by side."""
    if taken := [name for name in row if name in reserved]:
        raise DataError(f"{place}: a column {taken[0]!r}, which the output has for answers; {RENAME}")
    try:
        written = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise DataError(f"{place}: holds a number too large for JSON, such as 1e999; write it as text") from None
    if SURROGATE.search(written):
        raise DataError(f"{place}: holds half of an escaped pair such as \\ud83d; write the whole pair")


def _task(place: str, row: Mapping[str, Any], asked: Columns, data: Data) -> Task:
    def text(field: str) -> str:
        name = asked.read.get(field)
        return as_text(place, name, row.get(name)) if name else ""

    history: tuple[Message, ...] = ()
    system, instruction, question = text("system"), text("instruction"), text("input")
    if name := asked.read.get("messages"):
        system, history, question = _chat(place, name, row[name], system)
    if isinstance(data, RowsData) and data.wordings:
        question = templates.filled(place, row, data.wordings, templates.usual(data.wordings))
    if not history and not (instruction + question).strip():
        table.require(place, asked.needed, row, RENAME)
        raise DataError(f"{place}: asks nothing, {_prompt_columns(asked)} empty; fill in or delete the row")
    kind: TaskKind = "text"
    listed: tuple[str, ...] = ()
    if name := asked.read.get("options"):
        kind, listed = "choice", tuple(options.texts(place, name, row[name]).values())
    has_developer = any(turn.role == "developer" for turn in history)
    tools = asked.read.get("tools")
    task = Task(
        kind=kind,
        system=system if system.strip() else "" if has_developer else data.system,
        history=history,
        instruction=instruction,
        input=question,
        output="",
        source=place,
        choices=listed,
        tools=turns.tools(place, tools, row.get(tools)) if tools else "",
    )
    return choices.asked(place, task, 0, 1, 0)[0] if listed else task


def _prompt_columns(asked: Columns) -> str:
    return " and ".join(repr(name) for field, name in asked.read.items() if field in ("instruction", "input"))


def _chat(place: str, name: str, value: Any, system: str) -> tuple[str, tuple[Message, ...], str]:
    """Return system prompt, earlier turns and the last question; the right answer after it, if there is one, is not shown.

    After the answer of a tool the question is empty: the model answers that.
    """
    chat = turns.read(place, name, value)
    if chat and chat[0].role in ("system", "developer") and system.strip():
        raise DataError(f"{place}: a system prompt in a column of its own and another one in {name!r}; keep one of them")
    if chat and chat[0].role == "system":
        system = chat.pop(0).content
    if chat and chat[-1].role == "assistant":
        chat.pop()
    if not chat:
        raise DataError(f"{place}: {name!r} asks nothing; it needs a turn of the user")
    question = chat.pop().content if chat[-1].role == "user" else ""
    return system, tuple(chat), question
