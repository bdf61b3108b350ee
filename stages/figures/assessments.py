"""What a model, people and benchmarks found about a run: commands write it, git keeps it, and the report shows it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from stages.figures import Figures
from stages.figures.cost import TeacherCost
from stages.models.manifest import MANIFEST
from stages.rating.criteria import CRITERIA
from stages.terminal import visible

FOLDER = Path("data/authored/assessments")
Share = Annotated[float, Field(ge=0, le=1)]
Mark = Annotated[float, Field(ge=1, le=5)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
T = TypeVar("T")
Printable = Annotated[str, AfterValidator(visible)]


def path_of(name: str, kind: str) -> Path:
    """Return the file of an experiment's `judge`, `ratings` or `benchmarks`."""
    return FOLDER / name / f"{kind}.json"


def answers_of(systems: Iterable[str]) -> list[str]:
    """Return the files with the answers of systems, as `inputs` names them."""
    return [f"data/predictions/{system}.jsonl" for system in systems]


class Exact(Figures):
    """Figures in a file that a person may have edited: a number is finite, and no text stands for it."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Assessment(Exact):
    """`inputs` holds the md5, as in dvc.lock, of each file that was read.

    Sheets and results of a harness have a number instead of a path, which may name a person or a machine.
    """

    inputs: dict[str, Md5]

    def require(self, files: Iterable[str]) -> None:
        """Raise ValueError unless the hashes of these files are there: without one, the numbers would pass as current."""
        if lacking := [file for file in files if file not in self.inputs]:
            raise ValueError(f"inputs has no hash of {lacking[0]}")


class Marks(Exact):
    """The mean of `n` marks from 1 to 5, its 95 % interval and standard deviation; None where it cannot be computed."""

    n: Count
    mean: Mark | None = None
    mean_lo: Mark | None = None
    mean_hi: Mark | None = None
    sd: Annotated[float, Field(ge=0)] | None = None


def _of_all_criteria(found: dict[str, T]) -> dict[str, T]:
    if tuple(found) != CRITERIA:
        raise ValueError(f"must have {', '.join(CRITERIA)}")
    return found


ByCriterion = Annotated[dict[str, T], AfterValidator(_of_all_criteria)]


class Pairwise(Exact):
    """The wins of each system; `win_rate` is the first system's share of them, with the interval of `rate_interval`.

    `consistency` is the share of pairs whose two verdicts agree, among the pairs with two usable verdicts. `first_shown` is the
    share of verdicts for the answer shown first, without ties (0.5 is fair). `longer_won` is the longer answer's share of wins.
    """

    wins: Annotated[dict[str, Count], Field(min_length=2, max_length=2)]
    ties: Count
    inconsistent: Count
    unusable: Count
    win_rate: Share | None
    win_rate_lo: Share | None
    win_rate_hi: Share | None
    consistency: Share | None
    first_shown: Share | None
    longer_won: Share | None


class Judge(Assessment):
    """What `judge`, by the name of its model, found on random `rows` of a split; `teacher` holds its options.

    `rubric` is keyed by system and criterion; answers without usable marks do not count in it.
    """

    judge: str
    split: str
    rows: Count
    teacher: dict[str, JsonValue]
    pairwise: Pairwise
    rubric: dict[str, ByCriterion[Marks]]
    cost: TeacherCost

    @model_validator(mode="after")
    def _known_systems(self) -> Self:
        self.require(answers_of(self.pairwise.wins))
        if self.rubric.keys() != self.pairwise.wins.keys():
            raise ValueError("rubric and pairwise.wins have different systems")
        return self


class Ratings(Assessment):
    """What people found, by system and criterion, and Krippendorff's alpha by criterion; `raters` and `rows` are counts.

    `pick` is how rows were picked; `notes` explain it, and which rows the numbers are about.
    """

    pick: str
    notes: list[str]
    raters: Count
    rows: Count
    systems: Annotated[dict[str, ByCriterion[Marks]], Field(min_length=1)]
    krippendorff_alpha: ByCriterion[Annotated[float, Field(le=1)] | None]

    @model_validator(mode="after")
    def _known_systems(self) -> Self:
        self.require(answers_of(self.systems))
        return self


class Result(Exact):
    """One finite number; `stderr` and `n` are None if the harness reports none."""

    harness: Literal["lm-eval", "helm"]
    model: Printable
    task: Printable
    metric: Printable
    value: float
    stderr: float | None
    n: Count | None


class Benchmarks(Assessment):
    """Results of harnesses; for the models in `unrecorded`, their files do not state which weights were measured."""

    results: list[Result]
    unrecorded: list[Printable]

    @model_validator(mode="after")
    def _known_models(self) -> Self:
        self.require([str(MANIFEST)] if any(result.model not in self.unrecorded for result in self.results) else [])
        return self
