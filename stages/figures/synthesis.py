"""What a method of synthesis made, and what it cost."""

from typing_extensions import TypedDict  # pydantic reads that of typing from Python 3.12 on

from stages.figures import Figures
from stages.figures.cost import Machine, TeacherCost


class Step(Figures):
    """How many candidates remain after a stage: "generated", a filter, or "kept"."""

    stage: str
    count: int


class Round(Figures):
    """How many answers a round of requests got, and how many texts of them were kept."""

    asked: int
    kept: int


class Rejected(Figures):
    """How many candidates a filter rejected, and the first of them."""

    count: int
    examples: list[str]


Bin = TypedDict("Bin", {"from": float, "to": float, "count": int})


class Covered(TypedDict):
    """Passages of a document, and those that gave a pair."""

    passages: int
    covered: int


class MethodFigures(TypedDict, total=False):
    """What a method of synthesis measures besides its funnel; each has some of them, in this order."""

    ended_by: str
    rounds: int
    by_round: list[Round]
    instances: list[Step]
    facts: int
    facts_asked: int
    rows_by_form: dict[str, int]
    pairs: dict[str, int]
    passages: int
    passages_covered: int
    documents: int
    documents_covered: int
    distinct_1: float
    distinct_2: float
    nearest_seed_rouge_l: list[Bin]
    coverage: dict[str, Covered]


class Funnel(Figures):
    """Where the candidates of a method went; `stopped_by` names a budget that ran out, `warning` why nothing was kept."""

    method: str
    calls: int
    stopped_by: str
    stages: list[Step]
    rejected: dict[str, Rejected]
    rows: int
    figures: MethodFigures
    warning: str = ""


class SynthesisCost(TeacherCost):
    """Time and memory of one method. A teacher on another machine is not in its memory, nor are earlier reports."""

    seconds: float
    memory_peak_gib: float | None = None
    machine: Machine
