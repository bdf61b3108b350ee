"""JSON as every later stage can read and write it: without NaN and Infinity, equal keys, vast numbers and deep nesting."""

import json
import math
from collections import Counter
from itertools import chain
from typing import Any

DEEPEST = 100  # lists and objects in each other


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"the number {number[:40]} is too large to be kept")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!r} occurs twice in an object, and one value would be lost")
    return found


DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object)


def loads(text: str) -> Any:
    """Parse JSON without NaN and Infinity, and not nested too deeply; raise only ValueError."""
    try:
        found = DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    refuse_deep(found)
    return found


def refuse_deep(value: Any) -> None:
    """Raise ValueError if a value has more levels than a later stage can surely read and write."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        if not (level := list(chain.from_iterable(inner))):
            return
    raise ValueError(f"nested too deeply: more than {DEEPEST} lists or objects in each other")
