"""The JSON Schema of the answers of an extraction task, to which `predict.constrain` keeps answers."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from stages.errors import DataError
from stages.records import Example
from stages.text import copied

TYPES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


class Fields:
    """The fields of the references seen so far, in their order, with the types of their values."""

    def __init__(self) -> None:
        self.rows = 0
        self.seen = Counter[str]()
        self.types = defaultdict[str, set[str]](set)

    def add(self, record: dict[str, Any]) -> None:
        self.rows += 1
        self.seen.update(record.keys())
        for key, value in record.items():
            self.types[key] |= {TYPES[type(value)]} if value is not None else set()

    def schema(self) -> dict[str, Any]:
        """Return the schema of objects with these fields; those that all references have are required.

        A field may be null, or have a value of a type that it has in some reference.
        """
        fields = {key: {"type": [*sorted(types or {"string"}), "null"]} for key, types in self.types.items()}
        required = [key for key in fields if self.seen[key] == self.rows]
        return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def schemas(examples: Iterable[Example]) -> dict[str, dict[str, Any]]:
    """Return a schema for the references of each data set whose answers are JSON objects; "" is the only one of no mixture."""
    found = defaultdict[str, Fields](Fields)
    for example in examples:
        if example.kind == "extraction":
            found[example.dataset].add(json.loads(example.reference))
    return {dataset: fields.schema() for dataset, fields in found.items()}


def require(constrain: str, found: dict[str, dict[str, Any]], trained: Iterable[Example], asked: Iterable[Example]) -> None:
    """Raise DataError if answers are to be kept to JSON objects and cannot be.

    No training answer is one, thoughts precede the answers to `asked`, or texts are to be copied and a training answer has a
    text that its prompt does not have.
    """
    if constrain == "none":
        return
    if not found:
        raise DataError(f"predict.constrain = {constrain}: no answer of the training rows is a JSON object; set it to none")
    if any(example.kind == "extraction" and example.messages[-1].reasoning for example in asked):
        raise DataError(
            f"predict.constrain = {constrain}: thoughts precede the answers, and thoughts are not JSON; set it to none"
        )
    if constrain != "copied":
        return
    extracted = [example for example in trained if example.kind == "extraction"]
    if others := [(example, key) for example in extracted if (key := _not_copied(example)) is not None]:
        example, key = others[0]
        raise DataError(
            f"predict.constrain = copied: {len(others)} of {len(extracted)} training answers have a text that is not in their "
            f"prompt word for word, such as {json.dumps(key)} of {example.id}; set it to json"
        )


def warn(constrain: str, asked: Iterable[Example]) -> None:
    """Print a warning if texts are to be copied and a right answer to `asked` cannot be such a copy."""
    if constrain == "copied" and (lost := sum(_not_copied(e) is not None for e in asked if e.kind == "extraction")):
        print(
            f"warning: predict.constrain = copied: {lost} answers of the validation and test rows have a text that is not in "
            "their prompt word for word, so no system can give them",
            file=sys.stderr,
        )


def lacking(example: Example, schema: Mapping[str, Any], copied: bool) -> str:
    """Return why an answer would change the schema of the training rows' answers, or break `copied`; "" if it would not."""
    record = json.loads(example.reference)
    types = schema.get("properties", {})
    if not set(schema.get("required", ())) <= record.keys() <= types.keys():
        return "other fields than the training rows have"
    if any((TYPES[type(value)] if value is not None else "null") not in types[key]["type"] for key, value in record.items()):
        return "a value of another type than the training rows have"
    return "a text that is not in the prompt word for word" if copied and _not_copied(example) is not None else ""


def _not_copied(example: Example) -> str | None:
    """Return the first field whose text is not copied from the prompt."""
    given = copied.origin(example.prompt)
    fields = json.loads(example.reference).items()
    return next((key for key, value in fields if isinstance(value, str) and not copied.is_copy(value, given)), None)
