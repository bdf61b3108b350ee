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
    left = len(made.kept) + len(made.rejected)
    thrown = Counter(rejection.filter for rejection in made.rejected)
    steps = [{"stage": "generated", "count": left}]
    for name in made.filters:
        left -= thrown[name]
        steps.append({"stage": name, "count": left})
    examples = {name: [r.text for r in made.rejected if r.filter == name][:3] for name in made.filters}
    return {
        "method": method,
        "calls": calls,
        "stopped_by": spent,
        "stages": [*steps, {"stage": "kept", "count": len(made.kept)}],
        "rejected": {name: {"count": thrown[name], "examples": examples[name]} for name in made.filters},
        "rows": len(made.tasks),
        "figures": made.figures,
    }
