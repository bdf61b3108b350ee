"""The shape of what git keeps of a run: each file is checked once when it is read, since somebody else may have written it.

Only what a comparison uses is named here; all else is ignored, so that reports of older versions still read.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from stages.errors import DataError
from stages.pages import one_line
from stages.params.base import Fraction, Name, Seed
from stages.params.results import Margin, Metric

Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
MOST_RESAMPLES = 1_000_000  # take seconds


S = TypeVar("S", bound=BaseModel)


def checked(shape: type[S], content: Any, where: str) -> S:
    """Return JSON (bytes) or a value read from YAML in this shape; a DataError names `where`, the key and what is wrong."""
    try:
        return shape.model_validate_json(content) if isinstance(content, bytes) else shape.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{where}: {mistake(error)}; run `dvc repro` and commit what it writes") from None


def mistake(error: ValidationError) -> str:
    """Return the first mistake on one line, the key before it."""
    first = error.errors(include_url=False, include_input=False)[0]
    return one_line(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"]))))


class Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ReportSection(Shape):
    """The settings that judge; others may hold whatever JSON can."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    headline: str = ""
    margin: Margin = 1
    gate: dict[Metric, Margin] | None = None
    resamples: Annotated[int, Field(gt=0, le=MOST_RESAMPLES)] = 1
    texts: bool = True


class Yardstick(Shape):
    """The settings by which a comparison judges; the margin is for runs older than report.margin, `gate` may be empty."""

    headline: str
    margin: float = 0.05
    gate: dict[str, float]
    resamples: int
    seed: int


class Parameters(Shape):
    """params.yaml; keys besides these may hold whatever JSON can."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    name: Name
    seed: Seed = 0
    report: ReportSection = ReportSection()


class File(Shape):
    """What a stage depends on or writes."""

    path: str
    md5: Md5
    size: Annotated[int, Field(ge=0)]


class Stage(Shape):
    """A stage in dvc.lock."""

    cmd: str | list[str] = ""
    deps: tuple[File, ...] = ()
    outs: tuple[File, ...] = ()
    params: dict[str, dict[str, JsonValue]] = {}


class Lock(Shape):
    """dvc.lock."""

    stages: dict[str, Stage] = {}


class Matrix(Shape):
    """A stage in dvc.yaml; the lists of its matrix are texts such as ${seeds}."""

    matrix: dict[str, Any] = {}


class Pipeline(Shape):
    """dvc.yaml."""

    stages: dict[str, Matrix] = {}


class Kept(Shape):
    """What the tuned and the aligned model kept of general abilities, and the report's verdicts on each step."""

    tuned: dict[str, float] = {}
    difference: dict[str, float | str | None] = {}
    aligned: dict[str, float] = {}
    aligned_minus_tuned: dict[str, float | str | None] = {}


class Results(Shape):
    """metrics.json and details.json."""

    split: str | None = None
    totals: dict[str, dict[str, float | str]] = {}
    retention: Kept = Kept()


class Machine(Shape):
    device: str | None = None
    device_name: str | None = None
    versions: dict[str, str] = {}


class Step(Shape):
    """What a stage cost; older reports give memory in megabytes."""

    seconds: float | None = None
    memory_peak_gib: float = 0
    memory_peak_mb: float = 0

    @property
    def peak(self) -> float:
        return self.memory_peak_gib or self.memory_peak_mb * 1e6 / 2**30


class Engine(Shape):
    """Who answered, as a server states it."""

    server: str = ""
    version: str = ""


class Cost(Shape):
    """cost.json; keys besides these are the steps."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Step] = Field(init=False)

    machine: Machine = Machine()
    engine: Engine = Engine(server="transformers")
    serving: dict[str, dict[str, float]] = {}
    predictions_md5: dict[str, str] = {}

    @property
    def steps(self) -> dict[str, Step]:
        return {name: step for name, step in self.__pydantic_extra__.items() if step.seconds is not None}


class Item(Shape):
    """One line of items.jsonl: the scores of every system on one row of the split, by system and metric."""

    id: str
    source: str
    slices: list[str] = []
    scores: dict[str, dict[str, Fraction]]

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, line: Any) -> Any:
        """Name the scores, which are in the order of `metrics`; older reports name each of them."""
        match line:
            case {"metrics": list(names), "scores": dict(systems)}:
                return line | {"scores": {system: _named(names, scores, system) for system, scores in systems.items()}}
        return line


def _named(names: list[Any], scores: Any, system: str) -> dict[str, Any]:
    if not isinstance(scores, list) or len(scores) != len(names):
        raise ValueError(f"scores.{system}: one score or null for each of the {len(names)} metrics is needed")
    return {str(name): score for name, score in zip(names, scores, strict=True) if score is not None}


class Row(Shape):
    """A line of data/formatted/*.jsonl in DVC's cache."""

    id: str


class Turn(Shape):
    content: str


class Chat(Row):
    messages: Annotated[list[Turn], Field(min_length=2)]


class Answer(Shape):
    """A line of data/predictions/*.jsonl in DVC's cache."""

    example: str
    text: str
