"""Extraction: compare one JSON object with the reference, field by field."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from stages.records import Example, Prediction
from stages.text.objects import WRONG, elements, first, number, parsed, same


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Compare fields after parsing, lists as sets (`same`); null equals only null.

    Strictly, the whole answer is the object. `json_found` and `field_exact_lenient` read the first object in the answer, so
    that text around it costs nothing.

    `field_exact` is the share of the reference's fields that are right. Its mean over rows is the micro average where all rows
    have the same fields. `record_exact` needs all fields and no other one; `schema_valid` needs these fields with values of the
    right type. The measures are precision, recall and F1 of the row's values, see `values`. Without a JSON object all fields
    are wrong and all measures 0.
    """
    (right, wanted), found = _reference(example.reference), parsed(prediction.text)
    exact, lenient = _exact(found, right), first(prediction.text) if found is None else found
    scores = {
        "json_valid": float(found is not None),
        "json_found": float(lenient is not None),
        "schema_valid": float(found is not None and fits(found, right)),
        "field_exact": _share(exact, found, right),
        "field_exact_lenient": _share(_exact(lenient, right), lenient, right),
        "record_exact": float(found is not None and found.keys() == right.keys() and all(exact.values())),
        **{f"{key}_exact": value for key, value in exact.items() if key not in ("field", "record")},
    }
    given = values(found or {})
    measured = rates("field", len(given & wanted), len(given), len(wanted))
    return scores, measured if found is not None else dict.fromkeys(measured, 0.0)


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return precision, recall and F1 of each field, over all values (`field_`), and as the mean of the fields (`_macro`).

    An answer without a JSON object misses all values of the reference and counts as a wrong value in each of its fields. Fields
    that no reference has count only over all values: in the mean, a field invented once would weigh as much as any other.
    """
    references = [_reference(example.reference) for example in examples]
    rows = [(_given(p.text, right), wanted) for p, (right, wanted) in zip(predictions, references, strict=True)]
    both = Counter(field for given, right in rows for field, _ in given & right)
    given = Counter(field for given, _ in rows for field, _ in given)
    right = Counter(field for _, right in rows for field, _ in right)
    micro = rates("field", both.total(), given.total(), right.total())
    known: set[str] = set().union(*(right for right, _ in references))
    fields = {field: rates("", both[field], given[field], right[field]) for field in sorted(known & (right | given).keys())}
    named = {f"{field}{rate}": value for field, found in fields.items() for rate, value in found.items()}
    macro = {
        f"field_{rate}_macro": sum(found[f"_{rate}"] for found in fields.values()) / len(fields)
        for rate in ("precision", "recall", "f1")
        if fields
    }
    return {**named, **micro, **macro}


def _exact(found: dict[str, Any] | None, right: dict[str, Any]) -> dict[str, float]:
    return {key: float(found is not None and key in found and same(found[key], value)) for key, value in right.items()}


def _share(exact: dict[str, float], found: dict[str, Any] | None, right: dict[str, Any]) -> float:
    return sum(exact.values()) / len(exact) if exact else float(found == right)


@cache
def _reference(text: str) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Return a reference and its values; the scores and the totals of every system need them."""
    right = json.loads(text, parse_float=number)
    return right, values(right)


def _given(answer: str, right: dict[str, Any]) -> set[tuple[str, str]]:
    found = parsed(answer)
    return {(field, WRONG) for field in right or [""]} if found is None else values(found)


def fits(found: dict[str, Any], right: dict[str, Any]) -> bool:
    """Return whether `found` has exactly the reference's fields, each null or of the reference's JSON type (any if null)."""
    return found.keys() == right.keys() and all(
        value is None or right[key] is None or _type(value) is _type(right[key]) for key, value in found.items()
    )


def _type(value: Any) -> type:
    return float if type(value) is int else type(value)


def values(record: dict[str, Any]) -> set[tuple[str, str]]:
    """Return (field, value) of all values; a list gives each of its elements, null gives none."""
    return {(field, element) for field, value in record.items() if value is not None for element in elements(value)}


def rates(name: str, both: int, given: int, right: int) -> dict[str, float]:
    """Return precision, recall and F1 of counted values; all 1 where there is nothing to find and nothing given."""
    return {
        f"{name}_precision": both / given if given else float(not right),
        f"{name}_recall": both / right if right else float(not given),
        f"{name}_f1": 2 * both / (given + right) if given or right else 1.0,
    }
