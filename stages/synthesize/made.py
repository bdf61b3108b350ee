"""What every method takes and returns, and the funnel of its candidates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stages.figures.synthesis import Funnel, MethodFigures, Rejected, Step
from stages.params import Data
from stages.records import Document, Fact, Rejection, Task


@dataclass(frozen=True)
class Inputs:
    """What fetch prepared: complaint bodies and layouts, the pool of seed tasks, whole documents, facts of a graph.

    Where there are documents, `seeds` are questions about other things.
    """

    seeds: Sequence[Document]
    pool: Sequence[Task]
    documents: Sequence[Document]
    facts: Sequence[Fact]
    data: Data


@dataclass
class Made:
    """The candidates `kept` and `rejected` by the `filters`, named in order, and the `tasks` made of those kept.

    `passages` are the parts of documents that the candidates were made from; `figures` are for the report, and so is
    `lacking`: which rows are much fewer than asked for, or "".
    """

    filters: Sequence[str] = ()
    kept: list[Document] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    passages: list[Document] = field(default_factory=list)
    figures: MethodFigures = field(default_factory=MethodFigures)
    lacking: str = ""


def funnel(method: str, made: Made, calls: int, spent: str, warning: str = "") -> Funnel:
    """Count what `made` kept and what each filter rejected."""
    names = dict.fromkeys([*made.filters, *(rejection.filter for rejection in made.rejected)])
    thrown = {name: [rejection.text for rejection in made.rejected if rejection.filter == name] for name in names}
    rejected = {name: Rejected(count=len(texts), examples=texts[:3]) for name, texts in thrown.items()}
    stages = steps(made.filters, len(made.kept), made.rejected)
    counts = Funnel(
        method=method,
        calls=calls,
        stopped_by=spent,
        stages=stages,
        rejected=rejected,
        rows=len(made.tasks),
        figures=made.figures,
    )
    return counts.model_copy(update={"warning": warning}) if warning else counts


def steps(filters: Sequence[str], kept: int, rejected: Sequence[Rejection]) -> list[Step]:
    """Return the steps from generated through the filters to kept; rejections by other filters do not count."""
    thrown = Counter(rejection.filter for rejection in rejected)
    left = kept + sum(thrown[name] for name in filters)
    found = [Step(stage="generated", count=left)]
    for name in filters:
        left -= thrown[name]
        found.append(Step(stage=name, count=left))
    return [*found, Step(stage="kept", count=kept)]
