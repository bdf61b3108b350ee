"""Read the turns of a chat in a column: the messages of OpenAI's format, or those of ShareGPT."""

from collections.abc import Mapping
from typing import Any

from stages.errors import DataError
from stages.fetch.formats import kind_of, loads
from stages.fetch.table import as_text
from stages.records import Message, Role

MESSAGES_LIKE = 'a list like [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
# What ShareGPT calls the roles; its other speakers, such as observation, are refused.
SPEAKERS: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
TRAINED: dict[str, dict[Any, bool]] = {"weight": {0: False, 1: True}, "train": {False: False, True: True}}


def read(place: str, name: str, value: Any) -> list[Message]:
    """Return an optional system turn, then alternating user and assistant turns, none of them blank."""
    try:
        turns = loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f"{place}: {name!r} is not JSON: {error}; write {MESSAGES_LIKE}") from None
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError(f"{place}: {name!r} must be {MESSAGES_LIKE}, got {kind_of(turns)}")
    found: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        where = f"{place}: {name}[{number}]"
        says, text = ("from", "value") if "from" in turn else ("role", "content")
        role = _role(where, says, turn, found[-1].role if found else None)
        content = as_text(place, f"{name}[{number}].{text}", turn.get(text))
        if role != "system" and not content.strip():
            raise DataError(f"{where}.{text} is empty; fill in or delete the row")
        _refuse_unknown(where, turn, (says, text, *TRAINED))
        found.append(Message(role=role, content=content, trained=_trained(where, turn, role)))
    if found and not found[-1].trained:
        raise DataError(
            f"{place}: {name}[{len(found)}] is not to be trained on, but the last turn is the right answer; delete the turns "
            "after the last one to train on"
        )
    return found


def _role(where: str, says: str, turn: Mapping[str, Any], before: Role | None) -> Role:
    """Return the role of a turn; raise DataError unless it may follow the role of the turn before."""
    role: Role = "assistant" if before == "user" else "user"
    given = turn.get(says)
    known = SPEAKERS.get(given, "") if says == "from" and isinstance(given, str) else given
    if known == "system" and before is None:
        role = "system"
    if known != role:
        wanted = repr(role) if says == "role" else f"one of {', '.join(w for w, r in SPEAKERS.items() if r == role)}"
        raise DataError(f"{where}.{says} must be {wanted}, got {str(given)[:40]!r}; user and assistant take turns")
    return role


def _refuse_unknown(where: str, turn: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise DataError for a key that is not read, unless it holds nothing: a table of the hub gives all turns the same keys."""
    if unknown := [key for key, value in turn.items() if key not in known and value not in (None, "", [], {})]:
        names = ", ".join(repr(key[:40]) for key in unknown[:10])
        raise DataError(f"{where} has {names}, which would be lost; read are {', '.join(known)}: delete the others")


def _trained(where: str, turn: Mapping[str, Any], role: Role) -> bool:
    """Return whether to train on a turn, as its `weight` (OpenAI) or `train` (Axolotl) has it; other turns never are."""
    given = {key: turn[key] for key in TRAINED if turn.get(key) is not None}
    for key, value in given.items():
        numbers = (int, float) if key == "weight" else (bool,)
        if type(value) not in numbers or value not in TRAINED[key]:
            raise DataError(f"{where}.{key} must be {' or '.join(map(str, TRAINED[key])).lower()}, got {str(value)[:40]!r}")
        if role != "assistant" and value:
            raise DataError(f"{where}.{key} is {str(value).lower()}, but only assistant turns are trained on; delete it")
    if len(set(map(bool, given.values()))) > 1:
        raise DataError(f"{where}: weight and train disagree; keep one of them")
    return role != "assistant" or all(given.values())
