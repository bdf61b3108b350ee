"""JSON objects in answers: reading one, and telling two values apart as JSON does."""

import json
from typing import Any

WRONG = ""  # equals no value: given by an answer that is not an object, or is nested too deep to compare


def parsed(answer: str) -> dict[str, Any] | None:
    """The answer as a JSON object, or None; text around the object makes it invalid."""
    try:
        value = json.loads(answer, parse_float=number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number(text: str) -> int | float:
    """1.0 is 1, as in JSON Schema."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def same(a: Any, b: Any) -> bool:
    """Equal as JSON, lists at any depth as sets: true is not 1, order and repetition do not count."""
    return isinstance(a, list) == isinstance(b, list) and elements(a) == elements(b)


def elements(value: Any) -> set[str]:
    return {_canonical(element) for element in (value if isinstance(value, list) else [value])}


def _canonical(value: Any) -> str:
    try:
        return json.dumps(_in_order(value), sort_keys=True)
    except RecursionError:
        return WRONG


def _in_order(value: Any) -> Any:
    """The same value, each list within it sorted and without repetition."""
    if isinstance(value, dict):
        return {key: _in_order(element) for key, element in value.items()}
    if not isinstance(value, list):
        return value
    elements = {json.dumps(element, sort_keys=True): element for element in map(_in_order, value)}
    return [elements[text] for text in sorted(elements)]
