"""JSON objects in answers: parse one, find one in a text, and compare two values as JSON does."""

import json
import re
from itertools import islice
from math import isfinite
from typing import Any

TRIES = 16  # opening brackets at which an object is looked for, so that the time is linear
WRONG = ""  # equals no value; stands for answers that are not an object or are nested too deep to compare


def parsed(answer: str) -> dict[str, Any] | None:
    """Return the answer as a JSON object, or None; text around the object makes it invalid."""
    try:
        value = json.loads(answer, parse_float=number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def first(answer: str) -> dict[str, Any] | None:
    """Return the first JSON object in the answer, whatever text is around it, or None."""
    decoder = json.JSONDecoder(parse_float=number, parse_constant=_refuse)
    for opening in islice(re.finditer(r"\{", answer), TRIES):
        try:
            return dict(decoder.raw_decode(answer, opening.start())[0])
        except (ValueError, RecursionError):
            continue
    return None


def number(text: str) -> int | float:
    """Parse a number; 1.0 is 1, as in JSON Schema."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is too large for a number")  # 1e999 would be written as Infinity, which is not JSON
    return int(value) if value.is_integer() else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal as JSON, with lists at any depth as sets; true is not 1."""
    return isinstance(a, list) == isinstance(b, list) and elements(a) == elements(b)


def elements(value: Any) -> set[str]:
    return {_canonical(element) for element in (value if isinstance(value, list) else [value])}


def _canonical(value: Any) -> str:
    try:
        return json.dumps(_in_order(value), sort_keys=True)
    except RecursionError:
        return WRONG


def _in_order(value: Any) -> Any:
    """Return the value with each list in it sorted and without repetition."""
    if isinstance(value, dict):
        return {key: _in_order(element) for key, element in value.items()}
    if not isinstance(value, list):
        return value
    elements = {json.dumps(element, sort_keys=True): element for element in map(_in_order, value)}
    return [elements[text] for text in sorted(elements)]
