"""Sections for prediction, retention, evaluation, the report and the machine."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from stages.params.base import Count, Positive, Section, Text
from stages.params.synthesis import Price


class Predict(Section):
    split: Literal["valid", "test"]
    shots: Annotated[list[Count], Field(min_length=1)]
    passage: bool
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
    """`extra` names further metrics of the `evaluate` hub."""

    extra: list[Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$")]]


class Report(Section):
    """`headline` is a metric, or metric@slice for only the rows of one slice."""

    headline: Annotated[str, StringConstraints(pattern=r"^\w+(@\w+)?$")]
    resamples: Annotated[int, Field(ge=100)]
    margin: Annotated[float, Field(gt=0, le=1)]
    examples: Count
    errors: Count
    usd_per_hour: Annotated[float, Field(ge=0)]
    api: Price


class Runtime(Section):
    """Settings that change results only by float noise; no stage lists them, and they are recorded as provenance."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Positive
    micro_batch_size: Positive
