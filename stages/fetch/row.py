"""Read one row of a table, of columns or of a chat, as a task; raise DataError with its place for values that cannot be one."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from stages.errors import DataError
from stages.fetch import labels, options, templates, turns
from stages.fetch.formats import kind_of
from stages.fetch.recognition import NamedRows
from stages.fetch.strict_json import loads, refuse_deep
from stages.fetch.table import as_text
from stages.records import Message, Style, Task, TaskKind, first_problem
from stages.text.conversations import beginning
from stages.text.objects import parsed

STYLE_LIKE = 'an object like {"min_words": 5, "max_words": 40, "required": ["…"], "forbidden": ["…"]}'


def read(place: str, row: Mapping[str, Any], data: NamedRows, seed: int) -> tuple[str, Task]:
    """Return the key that decides the split, and the task, in one of several wordings with its number as a slice."""
    asked = _from_messages(place, row, data) if data.columns.messages else _from_columns(place, row, data)
    has_developer = any(turn.role == "developer" for turn in asked["history"])
    system = asked["system"] if asked["system"].strip() else "" if has_developer else data.system
    # The default prompt is the same for all rows; trying another one must not reshuffle the splits.
    own_system = system if system != data.system else ""
    opening = beginning([*asked["history"], Message(role="user", content=asked["input"])])
    prompt = [own_system, asked["instruction"], *(turn.content for turn in opening)]
    group = _group(place, row, data.columns.group)
    key = group or " ".join(" ".join(prompt).lower().split())
    source = group or f"row-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    style = _style(place, data.columns.style, row.get(data.columns.style)) if data.columns.style else None
    slices: tuple[str, ...] = ()
    if data.wordings:
        text, number = templates.worded(place, row, data.wordings, seed, key)
        asked |= {"instruction": "", "input": text}
        slices = (f"wording_{number}",) if len(data.wordings) > 1 else ()
    return key, Task(kind=data.task, source=source, slices=slices, style=style, **asked | {"system": system})


def further(place: str, row: Mapping[str, Any], task: Task, data: NamedRows) -> list[Task]:
    """Return the tasks of `data.also` on the same row."""
    return [
        Task(
            kind="text",
            system=also.system,
            instruction=task.instruction,
            input=task.input,
            output=_output(place, also.output, row[also.output], "text"),
            source=task.source,
        )
        for also in data.also
    ]


def _from_columns(place: str, row: Mapping[str, Any], data: NamedRows) -> dict[str, Any]:
    columns = data.columns
    named = {"system": columns.system, "instruction": columns.instruction, "input": columns.input}
    asked = {field: as_text(place, name, row.get(name)) if name else "" for field, name in named.items()}
    if not (asked["instruction"] + asked["input"]).strip():
        empty = " and ".join(repr(name) for name in (columns.instruction, columns.input) if name)
        raise DataError(f"{place}: no question, {empty} empty; fill in or delete the row")
    name = columns.output or ""
    if columns.options:
        given = options.texts(place, columns.options, row[columns.options])
        right = options.right(place, name, labels.named(place, name, row[name], data.labels), given)
        options.refuse_contradiction(place, name, row, given, right)
        return asked | {"history": (), "output": right, "choices": tuple(given.values())}
    return asked | {"history": (), "output": _output(place, name, labels.named(place, name, row[name], data.labels), data.task)}


def _from_messages(place: str, row: Mapping[str, Any], data: NamedRows) -> dict[str, Any]:
    name, prompt_column = data.columns.messages or "", data.columns.system
    row = turns.without_nulls(row) if data.hub else row
    chat = turns.read(place, name, row.get(name))
    system = as_text(place, prompt_column, row.get(prompt_column)) if prompt_column else ""
    if chat and chat[0].role in ("system", "developer") and system.strip():
        raise DataError(f"{place}: a system prompt in {prompt_column!r} and another one in {name!r}; keep one of them")
    if chat and chat[0].role == "system":
        system = chat.pop(0).content
    if not chat or chat[-1].role != "assistant":
        raise DataError(f"{place}: {name!r} must end with an assistant turn: the right answer")
    *history, answer = chat
    question = history.pop().content if history[-1].role == "user" else ""
    if answer.tool_calls and data.task != "text":
        raise DataError(
            f"{place}: {name!r} ends with calls of tools, which data.task = {data.task} cannot score; set it to text"
        )
    given, output = data.columns.tools, answer.content
    if not answer.tool_calls:
        output = _output(place, name, labels.named(place, name, output, data.labels), data.task)
    if not given and row.get("tools") and any(turn.tool_calls for turn in (*history, answer)):
        raise DataError(f"{place}: {name!r} calls tools, and the column 'tools' is not read; set data.columns.tools to it")
    described = turns.tools(place, given, row.get(given)) if given else ""
    if given:
        turns.refuse_undescribed(place, name, given, [*history, answer], described)
    return {
        "system": system,
        "history": tuple(history),
        "instruction": "",
        "input": question,
        "output": output,
        "reasoning": answer.reasoning,
        "tool_calls": answer.tool_calls,
        "tools": described,
    }


def _output(place: str, name: str, value: Any, kind: TaskKind) -> str:
    if isinstance(value, list) and all(isinstance(text, str) for text in value) and len(set(value)) == 1:
        value = value[0]  # SQuAD lists the answers of several people
    if kind == "extraction" and isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    if kind == "classification" and (code := labels.as_code(value)):
        raise DataError(f"{place}: {name!r} is {code}, not a label's name; set data.labels, e.g. {{0: negative, 1: positive}}")
    if kind == "text" and name.lower() == "label" and labels.as_code(value):
        raise DataError(
            f"{place}: {name!r} is {labels.as_code(value)}, a label's number; set data.task=classification and data.labels"
        )
    if kind == "classification" and isinstance(value, list):
        raise DataError(f"{place}: {name!r} is a list, but a classification has one label per row; name a column with one")
    text = as_text(place, name, value)
    text = text.strip() if kind == "classification" else text
    if not text.strip():
        raise DataError(f"{place}: {name!r} is empty; each row needs the right answer: fill in or delete the row")
    found = parsed(text) if kind == "extraction" else {}
    if found is None:
        raise DataError(f'{place}: {name!r} must be a JSON object like {{"name": "…"}}, or data.task must be text')
    try:
        refuse_deep(found)
    except ValueError as error:
        raise DataError(f"{place}: {name!r} is {error}; flatten it") from None
    as_text(place, name, json.dumps(found, ensure_ascii=False))  # refuses half a pair, also where it is written as \ud83d
    return text


def _style(place: str, name: str, value: Any) -> Style | None:
    """Return what an object or its JSON asks of the form of the answer; in a table of the hub every row has all keys."""
    try:
        found = loads(value) if isinstance(value, str) and value.strip() else value
    except ValueError as error:
        raise DataError(f"{place}: {name!r} is not JSON: {error}; write {STYLE_LIKE}") from None
    if not found:
        return None
    if not isinstance(found, dict):
        raise DataError(f"{place}: {name!r} must be {STYLE_LIKE}, got {kind_of(found)}")
    given = json.dumps({key: demand for key, demand in found.items() if demand is not None}, ensure_ascii=False)
    try:
        return Style.model_validate_json(as_text(place, name, given), strict=True)
    except ValidationError as error:
        why = first_problem(error).removeprefix("Value error, ")
        raise DataError(f"{place}: {name!r}: {why}; write {STYLE_LIKE}") from None


def _group(place: str, row: Mapping[str, Any], name: str | None) -> str:
    """Return the row's group, "" if no column is named; integers are accepted, since each has one spelling."""
    if not name:
        return ""
    value = row[name]
    group = str(value) if type(value) is int else as_text(place, name, value).strip()
    if not group:
        raise DataError(f"{place}: {name!r} is empty; give each row a group or set data.columns.group to null")
    return group
