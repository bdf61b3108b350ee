"""Plan a roll-out: how many outcomes each phase needs so that a drop of a given size is noticed in time."""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import ceil, isnan
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stages import files
from stages.errors import DataError
from stages.rollout import sequential

OUTCOME = "outcome"
COLUMNS = ("unit", "arm", "phase")  # of every file of outcomes
METRIC = re.compile(r"([A-Za-z]\w{0,39}):(-?[\d.]{1,12}):([+-][\d.]{1,12})(?::([\d.]{1,12}))?", re.ASCII)
FEWEST = 30  # rows of the smaller arm of a phase; below, no share of them is near normal
HIGHEST = 1e12  # of any number
Share = Annotated[float, Field(gt=0, lt=100)]
Finite = Annotated[float, Field(ge=-HIGHEST, le=HIGHEST)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Metric(Strict):
    """A number per row, with its mean and standard deviation under the old model, and the change that must be noticed.

    A `margin` below 0 means that a fall is harm. The rows of a `rate` are from 0 to 1.
    """

    name: str
    rate: bool
    baseline: Finite
    margin: Finite
    deviation: Annotated[float, Field(ge=1e-6, le=HIGHEST)]

    @property
    def direction(self) -> int:
        """The sign of a harmful change."""
        return 1 if self.margin > 0 else -1


class Phase(Strict):
    """`share` of the users have the new model, in percent; the phase ends once it has `rows` outcomes."""

    share: Share
    rows: Annotated[int, Field(gt=0)]


class Plan(Strict):
    """What is measured, by which bounds, and for how long. Alpha is shared equally by the metrics."""

    bound: Literal["obrien-fleming", "pocock"]
    alpha: Annotated[float, Field(ge=1e-4, lt=0.5)]
    power: Annotated[float, Field(gt=0.5, le=0.999)]
    traffic: Annotated[float, Field(ge=0.01, le=HIGHEST)]
    metrics: Annotated[list[Metric], Field(min_length=1)]
    phases: Annotated[list[Phase], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(after.share <= before.share for before, after in pairwise(self.phases)):
            raise ValueError("phases: each share must be larger than the one before")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"metrics: {max(names, key=names.count)} occurs twice")
        if any(abs(metric.margin) < 1e-6 for metric in self.metrics):
            raise ValueError("metrics: a margin is 0")
        return self

    @property
    def per_metric(self) -> float:
        return self.alpha / len(self.metrics)

    @property
    def fractions(self) -> list[float]:
        """The information fraction at the end of each phase; it is the same for all metrics."""
        sizes = list(accumulate(phase.rows * _spread(phase.share) for phase in self.phases))
        return [size / sizes[-1] for size in sizes]

    @property
    def bounds(self) -> list[float]:
        return sequential.bounds(self.bound, self.per_metric, self.fractions)

    def information(self, metric: Metric) -> float:
        """Return the inverse variance of a metric's difference at the end of the last phase, as planned."""
        return sum(phase.rows * _spread(phase.share) for phase in self.phases) / metric.deviation**2


def _spread(share: float) -> float:
    """Return f (1 - f): n rows at this share know as much of a difference as n f (1 - f) / variance."""
    return share / 100 * (1 - share / 100)


def made(metrics: Sequence[Metric], shares: Sequence[float], traffic: float, alpha: float, power: float, bound: str) -> Plan:
    """Return a plan with equally many rows in each phase, the fewest that reach `power` for every metric's margin.

    The smaller arm of each phase has at least FEWEST rows.
    """
    unit = [_spread(share) for share in shares]
    fractions = [size / sum(unit) for size in accumulate(unit)]
    drift = sequential.drift(sequential.bounds(bound, alpha / len(metrics), fractions), fractions, power)
    rows = max(ceil((drift * metric.deviation / metric.margin) ** 2 / sum(unit)) for metric in metrics)
    rows = max(rows, *(ceil(100 * FEWEST / min(share, 100 - share)) for share in shares))
    return checked(
        {
            "bound": bound,
            "alpha": alpha,
            "power": power,
            "traffic": traffic,
            "metrics": [metric.model_dump() for metric in metrics],
            "phases": [{"share": share, "rows": rows} for share in shares],
        },
        "rollout plan",
    )


def checked(values: object, where: str) -> Plan:
    """Return the values as a plan; raise DataError with the first mistake."""
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = str(first["msg"]).removeprefix("Value error, ")
        raise DataError(f"{where}: {place + ': ' if place else ''}{message}; write it with `tunetrail rollout plan`") from None


def read(path: Path) -> Plan:
    if not path.is_file():
        raise DataError(f"--plan {path}: no such file; write it with `tunetrail rollout plan --output {path}`")
    return checked(files.read_json(path), f"--plan {path}")


def rate(name: str, baseline: float, margin: float) -> Metric:
    """Return a metric of rows that are 0 or 1; raise DataError if the change leads out of that.

    Its deviation is the larger one of both rates: in early phases the few rows of the new model decide what can be noticed.
    """
    if not 0 < baseline < 1 or not 0 <= baseline + margin <= 1 or abs(margin) < 1e-6:
        raise DataError(
            f"{name}: a rate of {baseline:g} that changes by {margin:+g}: rates must be between 0 and 1"
            + ("; lower --margin" if name == OUTCOME else f"; other numbers are {name}:BASELINE:MARGIN:DEVIATION")
        )
    deviation = max(rate * (1 - rate) for rate in (baseline, baseline + margin)) ** 0.5
    return Metric(name=name, rate=True, baseline=baseline, margin=margin, deviation=deviation)


def guardrail(text: str) -> Metric:
    """Return the metric NAME:BASELINE:MARGIN, of rates, or NAME:BASELINE:MARGIN:DEVIATION, of other numbers."""
    try:
        name, *numbers = METRIC.fullmatch(text).groups("nan")  # type: ignore[union-attr]
        baseline, margin, deviation = map(float, numbers)
    except (AttributeError, ValueError):
        raise DataError(
            f"--guardrail {text}: use NAME:BASELINE:MARGIN, e.g. complained:0.02:+0.01, or NAME:BASELINE:MARGIN:DEVIATION, "
            "e.g. seconds:2.1:+0.5:1.4; a name has ASCII letters, digits and _; the sign of the margin says what is harm"
        ) from None
    if name in (OUTCOME, *COLUMNS):
        raise DataError(f"--guardrail {text}: {name} is a column of its own; give the guardrail another name")
    if isnan(deviation):
        return rate(name, baseline, margin)
    if deviation < 1e-6 or abs(margin) < 1e-6:
        raise DataError(f"--guardrail {text}: margin and deviation must be at least 0.000001; use a smaller unit")
    return Metric(name=name, rate=False, baseline=baseline, margin=margin, deviation=deviation)
