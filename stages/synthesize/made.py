"""What every method is given and returns, and the funnel that tells where its candidates went."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.params import Data
from stages.records import Document, Fact, Rejection, Task


@dataclass(frozen=True)
class Inputs:
    """What fetch laid ready: complaint bodies and layouts, the pool of seed tasks, whole documents, facts of a graph."""

    seeds: Sequence[Document]
    pool: Sequence[Task]
    documents: Sequence[Document]
    facts: Sequence[Fact]
    data: Data


@dataclass
class Made:
    """`kept` and `rejected` are the candidates after the named `filters`, in their order; `tasks` the rows made of the kept.

    `passages` are what the candidates were made from where that is cut from a document; `figures` are for the report.
    """

    filters: Sequence[str] = ()
    kept: list[Document] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    passages: list[Document] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def funnel(method: str, made: Made, calls: int, spent: str) -> dict[str, Any]:
    """Candidates left after each filter, and some of those that each threw out; `stopped_by` names a budget that ran out."""
    names = list(dict.fromkeys([*made.filters, *(rejection.filter for rejection in made.rejected)]))
    thrown = {name: [rejection.text for rejection in made.rejected if rejection.filter == name] for name in names}
    return {
        "method": method,
        "calls": calls,
        "stopped_by": spent,
        "stages": steps(made.filters, len(made.kept), made.rejected),
        "rejected": {name: {"count": len(texts), "examples": texts[:3]} for name, texts in thrown.items()},
        "rows": len(made.tasks),
        "figures": made.figures,
    }


def steps(filters: Sequence[str], kept: int, rejected: Sequence[Rejection]) -> list[dict[str, Any]]:
    """From generated, through what each filter left, to kept; rejections by other filters count elsewhere."""
    thrown = Counter(rejection.filter for rejection in rejected)
    left = kept + sum(thrown[name] for name in filters)
    found = [{"stage": "generated", "count": left}]
    for name in filters:
        left -= thrown[name]
        found.append({"stage": name, "count": left})
    return [*found, {"stage": "kept", "count": kept}]
