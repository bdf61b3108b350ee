"""Sections for prediction, retention, evaluation, the report and the machine."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from stages.params.base import Count, Positive, Section, Text
from stages.params.synthesis import Price


class Predict(Section):
    split: Literal["valid", "test"]
    shots: Annotated[list[Count], Field(min_length=1)]
    passage: bool
    constrain: Literal["none", "json"]
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

    @model_validator(mode="after")
    def _permitted(self) -> Self:
        if self.extra and not self.allow_code:
            raise ValueError(
                f"extra = {self.extra} would run Python code of the hub on this machine; read the code at that commit, "
                "then set evaluate.allow_code=true"
            )
        return self


class Report(Section):
    """`headline` is a metric, or metric@slice for only the rows of one slice."""

    headline: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(@[\w.-]+)?$")]
    resamples: Annotated[int, Field(ge=100)]
    margin: Annotated[float, Field(gt=0, le=1)]
    examples: Count
    errors: Count
    texts: bool
    usd_per_hour: Annotated[float, Field(ge=0)]
    api: Price


class Runtime(Section):
    """Settings that change results only by float noise; no stage lists them, and they are recorded as provenance."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Positive
    micro_batch_size: Positive
