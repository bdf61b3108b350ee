"""Read the turns of a chat in a column: the messages of OpenAI's format or those of ShareGPT, with calls of tools."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stages.errors import DataError
from stages.fetch.formats import kind_of
from stages.fetch.strict_json import loads
from stages.fetch.table import as_text
from stages.records import Message, Role, ToolCall

MOST_TURNS = 400  # each answer is rendered after all turns before it, so time grows with the square
MESSAGES_LIKE = 'a list like [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
CALLS_LIKE = 'a list like [{"type": "function", "function": {"name": "…", "arguments": {}}}]'
TOOLS_LIKE = 'a list like [{"type": "function", "function": {"name": "…", "parameters": {}}}]'
CALLER = "function_call"  # the speaker whose text is a call of a tool, or a list of them, as JSON
# What ShareGPT calls the roles; its other speakers are refused.
SPEAKERS: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
SPEAKERS |= {CALLER: "assistant", "observation": "tool", "tool": "tool"}
TRAINED: dict[str, dict[Any, bool]] = {"weight": {0: False, 1: True}, "train": {False: False, True: True}}
REASONING = ("reasoning_content", "reasoning", "thinking")  # names of one thing
FURTHER: dict[Role, tuple[str, ...]] = {  # keys of OpenAI's messages by role
    "assistant": (*REASONING, "tool_calls"),
    "tool": ("name", "tool_call_id"),
}


def read(place: str, name: str, value: Any) -> list[Message]:
    """Return an optional system or developer turn, then alternating user and assistant turns, none of them blank.

    Where the assistant calls tools, their answers stand before its next turn.
    """
    turns = _objects(f"{place}: {name!r}", value, MESSAGES_LIKE)
    if len(turns) > MOST_TURNS:
        raise DataError(f"{place}: {name!r} has {len(turns)} turns, more than {MOST_TURNS}; divide the chat into several rows")
    found: list[Message] = []
    fields: dict[str, Any]
    for number, turn in enumerate(turns, start=1):
        where = f"{place}: {name}[{number}]"
        says, text = ("from", "value") if "from" in turn else ("role", "content")
        role = _role(where, says, turn, found[-1] if found else None)
        content = as_text(place, f"{name}[{number}].{text}", turn.get(text))
        further = FURTHER.get(role, ()) if says == "role" else ()
        _refuse_unknown(where, turn, (says, text, *TRAINED, *further))
        if says == "from" and turn[says] == CALLER:
            calls = content if content.lstrip().startswith("[") else f"[{content}]"
            content, fields = "", {"tool_calls": _calls(place, f"{name}[{number}]", text, calls)}
        else:
            fields = _further(place, f"{name}[{number}]", turn, further)
        message = Message(role=role, content=content, trained=_trained(where, turn, role), **fields)
        if role != "system" and not content.strip() and not message.tool_calls:
            raise DataError(f"{where}.{text} is empty; fill in or delete the row")
        found.append(message)
    if found and not found[-1].trained:
        raise DataError(
            f"{place}: {name}[{len(found)}] is not to be trained on, but the last turn is the right answer; delete the turns "
            "after the last one to train on"
        )
    return found


def tools(place: str, name: str, value: Any) -> str:
    """Return the descriptions of tools as a JSON list; "" for none."""
    if value in (None, "", []):
        return ""
    found = [{"type": "function"} | _function(tool) for tool in _objects(f"{place}: {name!r}", value, TOOLS_LIKE)]
    for number, function in enumerate((tool["function"] for tool in found), start=1):
        if not (isinstance(function, dict) and isinstance(function.get("name"), str) and function["name"]):
            raise DataError(f"{place}: {name}[{number}] has no name; {name!r} must be {TOOLS_LIKE}")
    return as_text(place, name, json.dumps(found, ensure_ascii=False))


def refuse_undescribed(place: str, name: str, column: str, chat: Sequence[Message], tools: str) -> None:
    """Raise DataError if a turn calls a tool that the row's descriptions, a JSON list, do not have."""
    described = [tool["function"]["name"] for tool in json.loads(tools or "[]")]
    called = [call.name for turn in chat for call in turn.tool_calls]
    if unknown := [tool for tool in called if tool not in described]:
        there = ", ".join(repr(tool[:40]) for tool in described[:10]) or "none"
        raise DataError(
            f"{place}: {name!r} calls the tool {unknown[0][:40]!r}, but {column!r} describes {there}; describe it there"
        )


def without_nulls(value: Any) -> Any:
    """Return a value without keys that hold null: a table of the hub gives all objects the keys of all others."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _objects(what: str, value: Any, like: str) -> list[dict[str, Any]]:
    """Return a list of objects, which may be given as JSON text."""
    try:
        found = loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f"{what} is not JSON: {error}; write {like}") from None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{what} must be {like}, got {kind_of(found)}")
    return found


def _role(where: str, says: str, turn: Mapping[str, Any], before: Message | None) -> Role:
    """Return the role of a turn; raise DataError unless it may follow the turn before."""
    allowed: tuple[Role, ...] = ("user",)
    if before is None:
        allowed = ("user", "system", "developer") if says == "role" else ("user", "system")
    elif before.role == "user":
        allowed = ("assistant",)
    elif before.tool_calls:
        allowed = ("tool",)
    elif before.role == "tool":
        allowed = ("assistant", "tool")
    given = turn.get(says)
    known = SPEAKERS.get(given, "") if says == "from" and isinstance(given, str) else given
    if role := next((role for role in allowed if role == known), None):
        return role
    wanted = repr(allowed[0]) if says == "role" else f"one of {', '.join(w for w, r in SPEAKERS.items() if r == allowed[0])}"
    rule = "tools answer the calls" if before and before.tool_calls else "user and assistant take turns"
    if known == "tool":
        rule += f"; a tool's turn follows {'a function_call' if says == 'from' else 'an assistant turn with tool_calls'}"
    raise DataError(f"{where}.{says} must be {wanted}, got {str(given)[:40]!r}; {rule}")


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


def _further(place: str, where: str, turn: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a message that these keys of its turn give."""
    texts = {name: as_text(place, f"{where}.{name}", turn.get(name)) for name in names if name != "tool_calls"}
    thoughts = {texts.pop(name) for name in REASONING if name in texts} - {""}
    if len(thoughts) > 1:
        raise DataError(f"{place}: {where}: {' and '.join(n for n in REASONING if turn.get(n))} differ; keep one of them")
    found: dict[str, Any] = {**texts, **({"reasoning": thoughts.pop()} if thoughts else {})}
    if "tool_calls" in names and turn.get("tool_calls"):
        found["tool_calls"] = _calls(place, where, "tool_calls", turn["tool_calls"])
    return found


def _calls(place: str, where: str, key: str, value: Any) -> tuple[ToolCall, ...]:
    calls = _objects(f"{place}: {where}.{key}", value, CALLS_LIKE)
    return tuple(_call(place, f"{where}.{key}[{n}]", call) for n, call in enumerate(calls, start=1))


def _call(place: str, where: str, given: dict[str, Any]) -> ToolCall:
    call = _function(given)
    function = call["function"] if isinstance(call["function"], dict) else {}
    _refuse_unknown(f"{place}: {where}", call, ("id", "type", "index", "function"))
    _refuse_unknown(f"{place}: {where}.function", function, ("name", "arguments"))
    name = as_text(place, f"{where}.function.name", function.get("name"))
    if not name or call.get("type", "function") not in (None, "function"):
        raise DataError(f"{place}: {where} must be a call of a function, {CALLS_LIKE}")
    arguments = function.get("arguments")
    try:
        arguments = loads(arguments) if isinstance(arguments, str) and arguments.strip() else arguments
    except ValueError as error:
        raise DataError(f"{place}: {where}.function.arguments is not JSON: {error}; write an object") from None
    arguments = {} if arguments in (None, "", []) else arguments  # a function without parameters
    if not isinstance(arguments, dict):
        raise DataError(f"{place}: {where}.function.arguments must be an object, got {kind_of(arguments)}")
    text = as_text(place, f"{where}.function.arguments", json.dumps(arguments, ensure_ascii=False))
    return ToolCall(name=name, arguments=text, id=as_text(place, f"{where}.id", call.get("id")))


def _function(given: dict[str, Any]) -> dict[str, Any]:
    """Return a tool or a call as OpenAI has it; others write the function alone."""
    if "function" in given:
        return given
    inner = {key: value for key, value in given.items() if key not in ("id", "type")}
    return {key: given[key] for key in ("id", "type") if key in given} | {"function": inner}
