"""Pairs from a file with the columns chosen and rejected, in the forms that TRL's trainers read.

Text: `prompt`, `chosen`, `rejected`, and `system` where there is a system prompt. Conversations (JSON and JSON Lines): lists of
messages with role and content, with the prompt in a column of its own, as the beginning of both answers, or both.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from stages.errors import DataError
from stages.fetch import formats, json_values
from stages.fetch.table import as_text
from stages.preferences.made import Made
from stages.preferences.records import Pair, Verdict
from stages.records import Example, Message, first_problem
from stages.text.comparing import content

NAMES = {  # names of each column, as public data sets have them
    "prompt": ("prompt", "question", "instruction"),
    "chosen": ("chosen", "preferred"),
    "rejected": ("rejected", "dispreferred"),
    "system": ("system",),
}
TABLES = (".csv", ".tsv")
APART = "question of a validation or test row"


class Turn(BaseModel):
    """A message of a conversation in a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: str
    content: str


TURNS = TypeAdapter(list[Turn])


def made(path: Path, kept_apart: Iterable[Example]) -> Made:
    """Return a pair for each row; raise DataError with file and line for one that is none.

    A row with the question of one of the examples `kept_apart`, which validate and test, is dropped and counted: `format`
    removes such training rows too.
    """
    found, asked = Made(), {content(example.prompt[-1].content) for example in kept_apart if example.prompt}
    for place, row in _rows(path):
        prompt, chosen, rejected = _parts(place, _named(place, row))
        for name, text in (("chosen", chosen), ("rejected", rejected)):
            if not text.strip():
                raise DataError(f"{place}: {name} is empty; write an answer or delete the row")
        if chosen == rejected:
            raise DataError(f"{place}: chosen and rejected are equal, so the row prefers nothing; delete it")
        found.candidates += 1
        if content(prompt[-1].content) in asked:
            found.dropped[APART] += 1
            continue
        found.verdicts.append(Verdict(place=place))
        found.pairs.append(
            Pair(
                prompt=prompt,
                chosen=chosen,
                rejected=rejected,
                source="file",
                chosen_from="file",
                rejected_from="file",
                parents=(found.verdicts[-1].id,),
            )
        )
    if not found.candidates:
        raise DataError(f"{path}: the file is empty; name one with the columns chosen and rejected in preference.file")
    return found


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a table, of a list in JSON, or of JSON Lines, each with its place."""
    suffix = path.suffix.lower()
    with formats.opened(path) as source:
        if suffix in TABLES:
            cells = formats.cells(source)
            place, header = next(cells)
            _require_columns(place, header)
            yield from formats.named(cells, header)
            return
        for place, row in json_values.json_list(source) if suffix == ".json" else json_values.json_lines(source):
            if not isinstance(row, dict):
                raise DataError(f"{place}: {formats.kind_of(row)} and not an object with chosen and rejected")
            yield place, row


def _named(place: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a row by the column that each is read as."""
    _require_columns(place, list(row))
    for name, value in row.items():
        for text in _texts(value):
            as_text(place, name, text)
    return {column: row[name] for column, names in NAMES.items() for name in row if name.strip().lower() in names}


def _texts(value: Any) -> Iterator[str]:
    """Yield a text, or all texts in lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _require_columns(place: str, header: list[str]) -> None:
    """Raise DataError for an unknown column, two of the same meaning, or a missing one."""
    read = [next((column for column, names in NAMES.items() if name.strip().lower() in names), "") for name in header]
    for column in ("chosen", "rejected"):
        if column not in read:
            names = " or ".join(NAMES[column])
            raise DataError(f"{place}: no column {column}; name the column with the {WHAT[column]} answer {names}")
    if "" in read:
        known = ", ".join(name for names in NAMES.values() for name in names)
        other = header[read.index("")]
        raise DataError(f"{place}: the column {other!r} is unknown; delete it, or name it one of {known}")
    if twice := [column for column in NAMES if read.count(column) > 1]:
        raise DataError(f"{place}: two columns are read as {twice[0]}; delete one of them")


WHAT = {"chosen": "better", "rejected": "worse"}


def _parts(place: str, row: dict[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """Return the prompt and both answers of a row in any of the forms."""
    chosen, rejected, prompt, system = (row.get(name) for name in ("chosen", "rejected", "prompt", "system"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not isinstance(prompt, str) or not prompt.strip():
            raise DataError(f"{place}: no text in prompt, which answers as text need; add a column prompt with the question")
        turns = [{"role": "user", "content": prompt}]
    elif isinstance(chosen, list) and isinstance(rejected, list):
        *turns, better = _turns(place, "chosen", chosen)
        *other, worse = _turns(place, "rejected", rejected)
        if turns != other:
            raise DataError(f"{place}: chosen and rejected differ before their last message; both must answer the same prompt")
        turns = _prompt(place, prompt, turns)
        if better["role"] != "assistant" or worse["role"] != "assistant":
            raise DataError(f"{place}: the last message of chosen and rejected must have the role assistant")
        chosen, rejected = better["content"], worse["content"]
    else:
        kinds = f"{formats.kind_of(chosen)} and {formats.kind_of(rejected)}"
        raise DataError(f"{place}: chosen and rejected are {kinds}; both must be texts, or lists of messages")
    if system is not None and not isinstance(system, str):
        raise DataError(f"{place}: system is {formats.kind_of(system)} and not text")
    turns = [{"role": "system", "content": system}, *turns] if system else turns
    if turns[-1]["role"] not in ("user", "tool"):
        raise DataError(f"{place}: the prompt ends with a message of {turns[-1]['role']}; an answer must follow one of user")
    try:
        return tuple(map(Message.model_validate, turns)), chosen, rejected
    except ValidationError as error:
        raise DataError(f"{place}: the prompt: {first_problem(error)}") from None


def _prompt(place: str, prompt: Any, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the prompt of conversations; `turns` is their beginning, which public data sets also repeat in a column."""
    if not turns and prompt is None:
        raise DataError(f"{place}: give the prompt in the column prompt, or as the beginning of chosen and rejected")
    if not turns:
        return _turns(place, "prompt", prompt)
    if prompt is not None and prompt != turns[-1]["content"] and (isinstance(prompt, str) or prompt != turns):
        raise DataError(f"{place}: prompt is not what chosen and rejected begin with; delete one of the two")
    return turns


def _turns(place: str, column: str, value: Any) -> list[dict[str, Any]]:
    try:
        turns = [turn.model_dump() for turn in TURNS.validate_python(value)]
    except ValidationError as error:
        raise DataError(f"{place}: {column}: {first_problem(error)}; a message has role and content, nothing else") from None
    if not turns:
        raise DataError(f"{place}: {column} has no message")
    return turns
