"""The JSON Schema of the answers of an extraction task, to which `predict.constrain` keeps answers."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from stages.errors import DataError
from stages.records import Example
from stages.terminal import visible
from stages.text import copied
from stages.text.forms import FORMS, NAMES, has_form

ENOUGH = 60  # texts of a field before a form is taken as its own: 5 % of others would be seen with a probability of 95 %
TYPES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


class Fields:
    """The fields of the references seen so far, in their order, with the types of their values."""

    def __init__(self) -> None:
        self.rows = 0
        self.seen = Counter[str]()
        self.types = defaultdict[str, set[str]](set)
        self.texts = Counter[str]()
        self.forms = defaultdict[str, set[str]](lambda: set(FORMS))

    def add(self, record: dict[str, Any]) -> None:
        self.rows += 1
        self.seen.update(record.keys())
        for key, value in record.items():
            self.types[key] |= {TYPES[type(value)]} if value is not None else set()
            if isinstance(value, str):
                self.texts[key] += 1
                self.forms[key] = {name for name in self.forms[key] if has_form(value, FORMS[name])}

    def schema(self) -> dict[str, Any]:
        """Return the schema of objects with these fields; those that all references have are required.

        A field may be null, or have a value of a type that it has in some reference. If all texts of a field are e-mail
        addresses, dates or URLs, it has that form as its pattern, for copied texts.
        """
        fields = {key: {"type": [*sorted(types or {"string"}), "null"]} | self._form(key) for key, types in self.types.items()}
        required = [key for key in fields if self.seen[key] == self.rows]
        return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}

    def _form(self, key: str) -> dict[str, Any]:
        found = [name for name in FORMS if name in self.forms[key]] if self.texts[key] >= ENOUGH else []
        return {"pattern": FORMS[found[0]]} if found else {}


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


def warn(constrain: str, found: Mapping[str, dict[str, Any]], asked: Iterable[Example]) -> None:
    """Where texts are to be copied, print which fields have a form, and warn if a right answer to `asked` cannot be given."""
    if constrain != "copied":
        return
    for key, field in ((key, field) for schema in found.values() for key, field in schema["properties"].items()):
        if "pattern" in field:
            print(f"{visible(key)}: all training answers have {NAMES[field['pattern']]} or null, so only such parts are copied")
    extracted = [example for example in asked if example.kind == "extraction"]
    reasons = {
        "is not in their prompt word for word": sum(_not_copied(example) is not None for example in extracted),
        "has another form than in all training answers": sum(
            _of_another_form(example, found.get(example.dataset, {})) is not None for example in extracted
        ),
    }
    for reason, lost in reasons.items():
        if lost:
            print(
                f"warning: predict.constrain = copied: {lost} answers of the validation and test rows have a text that "
                f"{reason}, so no system can give them",
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
    if copied and _of_another_form(example, schema) is not None:
        return "a text of another form than the training rows have"
    return "a text that is not in the prompt word for word" if copied and _not_copied(example) is not None else ""


def _of_another_form(example: Example, schema: Mapping[str, Any]) -> str | None:
    """Return the first field whose text lacks the form that the schema asks for."""
    patterns = {key: field["pattern"] for key, field in schema.get("properties", {}).items() if "pattern" in field}
    fields = json.loads(example.reference) if patterns else {}
    return next(
        (key for key in patterns if isinstance(fields.get(key), str) and not has_form(fields[key], patterns[key])), None
    )


def _not_copied(example: Example) -> str | None:
    """Return the first field whose text is not copied from the prompt."""
    given = copied.origin(example.prompt)
    fields = json.loads(example.reference).items()
    return next((key for key, value in fields if isinstance(value, str) and not copied.is_copy(value, given)), None)
