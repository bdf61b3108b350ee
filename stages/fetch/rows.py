"""Turn the rows of a user's file or of a table of the hub into tasks of the train, valid and test splits."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.errors import DataError
from stages.fetch import choices, options, templates, turns
from stages.fetch.formats import kind_of
from stages.fetch.recognition import NamedRows, Opened, opened
from stages.fetch.splits import SPLITS
from stages.fetch.strict_json import loads, refuse_deep
from stages.fetch.table import as_text
from stages.params import SLOT, RowsData
from stages.records import Message, Style, Task, TaskKind, first_problem
from stages.spool import Spool
from stages.text.conversations import beginning
from stages.text.objects import parsed
from stages.text.style import score

STYLE_LIKE = 'an object like {"min_words": 5, "max_words": 40, "required": ["…"], "forbidden": ["…"]}'

MANY, LARGE = 20, 0.1  # rows with one prompt, and their share of all, that are warned of

# What spreadsheets and pandas write for a value that they do not have.
LOST = ("nan", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!")
NUMBER = re.compile(r"-?\d+(\.0+)?")  # a label in a CSV file that may stand for a name

log = logging.getLogger(__name__)


def tasks(data: RowsData, seed: int, table: Opened | None = None) -> dict[str, Spool[Task]]:
    """Return the rows of `data`, already opened or not, as tasks by split, in their order.

    A row's split depends only on the seed and on its group (without one, its prompt; of a chat, the beginning). An added
    row moves no other row, and another `data.valid` leaves the test rows. A published split is what it is. Raise DataError
    for values that cannot be a row and for an empty split.
    """
    table = table or opened(data)
    data, path = table.data, table.path
    if any(data.columns.output in SLOT.findall(wording.text) for wording in data.wordings):
        raise DataError(f"data.wordings: one names {data.columns.output!r}, the column of the right answer; leave it out")
    splits = {split: Spool(Task) for split in SPLITS}
    seen: set[int] = set()  # hashes, since a million rows take a tenth of the memory of their ids
    alike = Counter[int]()  # rows by the key of their split
    labels = Counter[str]()
    lost = Counter[str]()
    broken = Counter[str]()  # answers with a style by the demands that they break, "" if none
    first, repeated = "", 0
    for published, (place, row) in ((split, row) for split, rows in table.rows.items() for row in rows):
        key, task = _task(place, row, data, seed)
        if hash((published, task.id)) in seen:
            repeated += 1
            continue
        seen.add(hash((published, task.id)))
        if task.output in LOST:
            lost[task.output] += 1
        split = published
        if split in ("", "train"):
            split = _split(key, data.shares, seed)
            alike[hash(key)] += 1
        asked = [task]
        if task.choices:
            asked = choices.asked(place, task, data.orders, max(data.orders, 1) if split == "test" else 1, seed)
        if task.kind == "classification":
            labels[task.output] += 1
        if task.style and not task.tool_calls:  # only the model's template writes calls
            demands = ", ".join(name for name, is_met in score(task.style, asked[0].output).items() if not is_met)
            broken[demands] += 1
            first = first or (demands and f"{place} by {demands}")
        for each in (*asked, *(_further(place, row, task, data) if split == "train" else ())):
            splits[split].append(each)
    if repeated:
        log.warning("%s: %d rows left out, each an exact repetition of an earlier one", path, repeated)
    if lost:
        log.warning("%s: %d answers are %s, which stands for a lost value; check them", path, lost.total(), " or ".join(lost))
    if first:
        _report_broken(path, data, broken, first)
    most, total = max(alike.values(), default=0), alike.total()
    if not data.columns.group and data.shares["train"] < 1 and most >= MANY and most > LARGE * total:
        log.warning(
            "%s: %d of %d rows begin with the same prompt, so they are in one split; to divide them, name data.columns.group",
            *(path, most, total),
        )
    _refuse_empty(path, splits, data, len(alike))
    return _with_labels(path, splits, labels) if data.task == "classification" else splits


def _report_broken(path: Path, data: NamedRows, broken: Counter[str], first: str) -> None:
    """Warn of right answers that break the style of their own row; raise DataError if all do."""
    name, total = data.columns.style, broken.total()
    if not broken[""]:
        raise DataError(
            f"{path}: every right answer with a style breaks it, the first {first}; correct {name!r} or the answers"
        )
    log.warning(
        "%s: %d of %d right answers break their own style, the first %s; an answer like them scores 0: correct %r or them",
        *(path, total - broken[""], total, first, name),
    )


def _task(place: str, row: Mapping[str, Any], data: NamedRows, seed: int) -> tuple[str, Task]:
    """Return the key that decides the split, and the task, in one of several wordings with its number as a slice."""
    asked = _from_messages(place, row, data) if data.columns.messages else _from_columns(place, row, data)
    has_developer = any(turn.role == "developer" for turn in asked["history"])
    system = asked["system"] if asked["system"].strip() else "" if has_developer else data.system
    # The default prompt is the same for all rows; trying another one must not reshuffle the splits.
    own_system = system if system != data.system else ""
    turns = beginning([*asked["history"], Message(role="user", content=asked["input"])])
    prompt = [own_system, asked["instruction"], *(turn.content for turn in turns)]
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


def _with_labels(path: Path, splits: dict[str, Spool[Task]], counts: Counter[str]) -> dict[str, Spool[Task]]:
    """Return the tasks with all labels of the data, in alphabetical order, as the choices of each classification."""
    labels = sorted(counts)
    folded = {" ".join(label.lower().split()): label for label in labels}
    if alike := [label for label in labels if folded[" ".join(label.lower().split())] != label]:
        other = folded[" ".join(alike[0].lower().split())]
        raise DataError(f"{path}: the labels {alike[0]!r} and {other!r} differ only in case or white space; write one of them")
    if len(labels) < 2:
        raise DataError(f"{path}: every row has the label {labels[0]!r}; a classification needs two labels")
    if len(labels) > max(26, counts.total() / 2):
        raise DataError(f"{path}: {len(labels)} different labels in {counts.total()} rows are not classes; set data.task=text")
    if all(NUMBER.fullmatch(label) for label in labels):
        log.warning("%s: the labels are %s; if they stand for names, set data.labels", path, ", ".join(labels))

    def closed(task: Task) -> Task:
        is_open = task.kind != "classification"  # one of data.also
        return task if is_open else Task.model_validate(task.model_dump(exclude={"id"}) | {"choices": tuple(labels)})

    return {split: Spool(Task, map(closed, tasks)) for split, tasks in splits.items()}


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
        right = options.right(place, name, _named(place, name, row[name], data.labels), given)
        options.refuse_contradiction(place, name, row, given, right)
        return asked | {"history": (), "output": right, "choices": tuple(given.values())}
    return asked | {"history": (), "output": _output(place, name, _named(place, name, row[name], data.labels), data.task)}


def _further(place: str, row: Mapping[str, Any], task: Task, data: NamedRows) -> list[Task]:
    """Return the tasks of `data.also` on the same row."""
    return [
        Task(
            kind="text",
            system=further.system,
            instruction=task.instruction,
            input=task.input,
            output=_output(place, further.output, row[further.output], "text"),
            source=task.source,
        )
        for further in data.also
    ]


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
        output = _output(place, name, _named(place, name, output, data.labels), data.task)
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


def _named(place: str, name: str, value: Any, labels: Mapping[str, str] | None) -> Any:
    """Return the name of a label that is given as a number or code; without `labels` the value is the name."""
    if labels is None:
        return value
    code = _code(value) or as_text(place, name, value).strip()
    if code not in labels and (
        code in ("True", "False") or NUMBER.fullmatch(code)
    ):  # as pandas writes true and 1 in a CSV file
        code = code.lower().partition(".")[0]
    if code not in labels:
        there = f"{place}: {name!r} is {code[:40]!r}, but data.labels has names for {', '.join(labels)}"
        bare = code.lower() in ("yes", "no", "on", "off", "y", "n") and not labels.keys().isdisjoint(("true", "false"))
        hint = f"write {code!r} in quotes there, since YAML reads {code} as true or false" if bare else "add one for it"
        raise DataError(f"{there}; {hint}, as in {{0: negative}}")
    return labels[code]


def _code(value: Any) -> str | None:
    """Return a number or a truth value as data.labels names it, None if it is neither; pandas writes 1 as 1.0."""
    value = int(value) if type(value) is float and value.is_integer() else value
    return json.dumps(value) if type(value) in (int, float, bool) else None


def _output(place: str, name: str, value: Any, kind: TaskKind) -> str:
    if isinstance(value, list) and all(isinstance(text, str) for text in value) and len(set(value)) == 1:
        value = value[0]  # SQuAD lists the answers of several people
    if kind == "extraction" and isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    if kind == "classification" and (code := _code(value)):
        raise DataError(f"{place}: {name!r} is {code}, not a label's name; set data.labels, e.g. {{0: negative, 1: positive}}")
    if kind == "text" and name.lower() == "label" and _code(value):
        raise DataError(f"{place}: {name!r} is {_code(value)}, a label's number; set data.task=classification and data.labels")
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


def _split(key: str, shares: Mapping[str, float], seed: int) -> str:
    drawn = int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:13], 16) / 16**13  # 52 bits: exact in a float
    return "test" if drawn < shares["test"] else "valid" if drawn < shares["test"] + shares["valid"] else "train"


def _refuse_empty(path: Path, splits: dict[str, Spool[Task]], data: NamedRows, keys: int) -> None:
    rows = sum(map(len, splits.values()))
    if not rows:
        raise DataError(f"{path}: no rows in it, only a header or an empty list; add rows")
    published = dict(data.splits or ())
    for name, tasks in splits.items():
        if published.get(name) and not tasks:
            raise DataError(f"{path}: data.splits.{name} = {published[name]} has no rows; name another, or null")
        if data.shares[name] and not tasks:
            there = f"{rows} rows with {keys} different {'groups' if data.columns.group else 'prompts'}"
            raise DataError(
                f"{path}: {name} is {data.shares[name]:g} of {there}, but it got none; add rows or change data.valid, data.test"
            )
