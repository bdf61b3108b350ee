"""What every method takes and returns, and the funnel of its candidates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.params import Data
from stages.records import Document, Fact, Rejection, Task


@dataclass(frozen=True)
class Inputs:
    """What fetch prepared: complaint bodies and layouts, the pool of seed tasks, whole documents, facts of a graph."""

    seeds: Sequence[Document]
    pool: Sequence[Task]
    documents: Sequence[Document]
    facts: Sequence[Fact]
    data: Data


@dataclass
class Made:
    """The candidates `kept` and `rejected` by the `filters`, named in order, and the `tasks` made of those kept.

    `passages` are the parts of documents that the candidates were made from; `figures` are for the report.
    """

    filters: Sequence[str] = ()
    kept: list[Document] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    passages: list[Document] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """How many candidates remain after a stage: "generated", a filter, or "kept"."""

    stage: str
    count: int


@dataclass(frozen=True)
class Rejected:
    """How many candidates a filter threw out, and the first of them."""

    count: int
    examples: list[str]


@dataclass(frozen=True)
class Funnel:
    """Where the candidates of a method went; `stopped_by` names a budget that ran out. Written as funnel.json."""

    method: str
    calls: int
    stopped_by: str
    stages: list[Step]
    rejected: dict[str, Rejected]
    rows: int
    figures: dict[str, Any]


def funnel(method: str, made: Made, calls: int, spent: str) -> Funnel:
    """Count what `made` kept and what each filter threw out."""
    names = dict.fromkeys([*made.filters, *(rejection.filter for rejection in made.rejected)])
    thrown = {name: [rejection.text for rejection in made.rejected if rejection.filter == name] for name in names}
    rejected = {name: Rejected(len(texts), texts[:3]) for name, texts in thrown.items()}
    stages = steps(made.filters, len(made.kept), made.rejected)
    return Funnel(method, calls, spent, stages, rejected, len(made.tasks), made.figures)


def steps(filters: Sequence[str], kept: int, rejected: Sequence[Rejection]) -> list[Step]:
    """Return the steps from generated through the filters to kept; rejections by other filters do not count."""
    thrown = Counter(rejection.filter for rejection in rejected)
    left = kept + sum(thrown[name] for name in filters)
    found = [Step("generated", left)]
    for name in filters:
        left -= thrown[name]
        found.append(Step(name, left))
    return [*found, Step("kept", kept)]
