"""Suggest the settings or the edit with which rows of no known shape could be read."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.fetch import formats, options, table
from stages.fetch.columns import ASKED, BEFORE, CHATS, RIGHT, TURN, folded, is_chat, listed, matching, present_in

APART = re.compile(r"(?:(?:option|choice|opt|ending|distractor|sol)[ _]?[a-d0-4]|[a-d])")  # an option in a column of its own


def remedy(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what to do about rows of no shape: if possible, an example of columns that reads them."""
    present = [name for name in present_in(rows) if folded(name) not in ("", "id", "idx", "index", "rejected")]
    is_table = path.suffix.lower() in (".csv", ".tsv")
    if is_table and (table.looks_like_row(present) or any(row.get(name) == name for row in rows for name in present)):
        return f"{table.IF_ROW}otherwise name yours in data.columns"
    if hint := join_options(present):
        return hint
    chats = [name for name in present if any(is_chat(row, name, shape) for row in rows for shape in TURN)]
    chats.sort(key=lambda name: folded(name) not in CHATS)
    if whole := [name for name in chats if all(_is_whole(row.get(name)) for row in rows)]:
        return f"set e.g. data.columns={written({'messages': whole[0]})}"
    if chats:
        return f"join the turns of {' and '.join(map(repr, chats[:10]))} as one list in a column 'messages'"
    if len(rows) == 1 and (hint := formats.within(rows[0])):
        return hint
    return _example(present, rows) or "there must be a column with the question and one with the right answer as text"


def join_options(present: Sequence[str]) -> str:
    """Return that options have columns of their own, and what to do; "" if they do not."""
    apart = [name for name in present if APART.fullmatch(folded(name))]
    names = ", ".join(map(repr, apart[:10]))
    return f"write {names} as a list, in CSV as JSON, in one column 'options'" if len(apart) > 1 else ""


def _is_whole(value: Any) -> bool:
    """Return whether turns begin before an answer and end with one."""
    turns = [turn.get("role", turn.get("from")) if isinstance(turn, dict) else None for turn in listed(value)]
    return len(turns) > 1 and turns[0] not in ("assistant", "gpt") and turns[-1] in ("assistant", "gpt")


def _example(present: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the settings that most likely read rows of question and answer; "" if nothing looks like them."""
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in present}
    texts = [name for name in present if values[name] and all(isinstance(value, str) for value in values[name])]
    answers = [name for name in matching(present, RIGHT) if values[name]] or texts[1:]
    if not answers:
        return ""
    answer, also = answers[0], ""
    asked = [name for name in (*matching(texts, ASKED), *matching(texts, BEFORE), *texts) if name != answer]
    if not asked:
        return ""
    before = [name for name in matching(texts, BEFORE) if name not in (answer, asked[0])]
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
    return f"set e.g. data.columns={written(columns | {'output': f'{answer}.text' if inner else answer})}{also}"


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


def written(columns: Mapping[str, str]) -> str:
    """Return columns as they are written in YAML and on the command line, which read some names only in quotes."""
    plain = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z][\w.-]*", re.ASCII | re.IGNORECASE)
    quoted = {field: name if plain.fullmatch(name) else json.dumps(name, ensure_ascii=False) for field, name in columns.items()}
    return f"{{{', '.join(f'{field}: {name}' for field, name in quoted.items())}}}"
