"""What a source of pairs returns: its pairs, its single votes, and the candidates that it dropped."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stages.records import Pair, Sample, Vote

R = TypeVar("R", Pair, Sample, Vote)


@dataclass
class Made:
    """`dropped` counts candidates that became neither a pair nor votes, by reason."""

    candidates: int = 0
    pairs: list[Pair] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def changed(record: R, **fields: Any) -> R:
    """Return a record with other values in these fields, and its new id."""
    return type(record).model_validate(record.model_dump(exclude={"id"}) | fields)
