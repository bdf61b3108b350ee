"""Sections for prediction, retention, evaluation, the report and the machine."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from stages.params.base import Count, Name, Positive, Section, Text
from stages.params.synthesis import Price

Metric = Annotated[str, StringConstraints(pattern=r"^[\w.-]+(@[\w.-]+)?$")]
Margin = Annotated[float, Field(gt=0, le=1)]
CPU_ROWS = 4  # of a forward pass, as in conf/runtime/cpu.yaml


class Predict(Section):
    split: Literal["valid", "test"]
    shots: Annotated[list[Count], Field(min_length=1)]
    passage: bool
    kept: list[Name]
    constrain: Literal["none", "json", "copied"]
    batch_size: Positive
    max_new_tokens: Positive
    likelihood_rows: Count
    agreement_rows: Count


class Retention(Section):
    """General items for base and tuned models: passages of Python's documentation, authored questions and requests."""

    path: Text
    texts: Count
    words: Positive


class Evaluate(Section):
    """`extra` names further metrics of the `evaluate` hub, each at a commit; they are programs, which `allow_code` permits."""

    extra: list[Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)?@[0-9a-f]{40}$")]]
    allow_code: bool
    vote: bool

    @model_validator(mode="after")
    def _permitted(self) -> Self:
        if self.extra and not self.allow_code:
            raise ValueError(
                f"extra = {self.extra} would run Python code of the hub on this machine; read the code at that commit, "
                "then set evaluate.allow_code=true"
            )
        return self


class Report(Section):
    """`headline` is a metric, or metric@slice for only the rows of one slice; `gate` has the margins of further metrics."""

    headline: Metric
    resamples: Annotated[int, Field(ge=100)]
    margin: Margin
    gate: dict[Metric, Margin] | None
    examples: Count
    errors: Count
    texts: bool
    usd_per_hour: Annotated[float, Field(ge=0)]
    api: Price


class Runtime(Section):
    """Settings that change results only by float noise; no stage lists them, and they are recorded as provenance."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Positive
    micro_batch_size: Positive | Literal["auto"]
    launcher: Literal["none", "ddp", "deepspeed"]
    processes: Positive

    @field_validator("micro_batch_size", mode="before")
    @classmethod
    def _number_or_auto(cls, value: object) -> object:
        """Refuse other values in one line, where a union would make one per member."""
        if value == "auto" or (type(value) is int and value > 0):
            return value
        raise ValueError(f"{value!r} should be an integer greater than 0, or auto")

    @model_validator(mode="after")
    def _several_are_launched(self) -> Self:
        if (self.launcher == "none") != (self.processes == 1):
            other = "none, or processes=2" if self.processes == 1 else "ddp, or processes=1"
            raise ValueError(f"launcher = {self.launcher} with processes = {self.processes}: use launcher={other}")
        return self

    def rows(self, batch_size: int) -> int:
        """Return micro_batch_size; for auto that of a CPU, the largest divisor of `batch_size` up to CPU_ROWS."""
        size = self.micro_batch_size
        return size if isinstance(size, int) else divisor(batch_size, CPU_ROWS)


def divisor(number: int, at_most: int) -> int:
    """Return the largest divisor of a number up to `at_most`; 0 if that is below 1."""
    return max((size for size in range(1, min(number, at_most) + 1) if number % size == 0), default=0)
