"""What every method returns, and the funnel that tells where its candidates went."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.records import Document, Rejection, Task


@dataclass
class Made:
    """`kept` and `rejected` are the candidates after the named `filters`, in their order; `tasks` the rows made of the kept."""

    filters: Sequence[str] = ()
    kept: list[Document] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)


def funnel(method: str, made: Made, calls: int) -> dict[str, Any]:
    """Candidates left after each filter, and some of those that each threw out."""
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
        "stages": [*steps, {"stage": "kept", "count": len(made.kept)}],
        "rejected": {name: {"count": thrown[name], "examples": examples[name]} for name in made.filters},
        "rows": len(made.tasks),
    }
