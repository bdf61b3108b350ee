"""The section of users' feedback on answers."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from stages.params.base import Section, Text
from stages.params.rows import form

NO_FEEDBACK = Path("data/authored/feedback/none/feedback.jsonl")  # an empty file, where DVC needs one that exists


class FeedbackColumns(Section):
    """Names of the columns; a field that is null or left out has none."""

    prediction_id: str | None = None
    input: str | None = None
    output: str | None = None
    vote: str | None = None
    correction: str | None = None
    comment: str | None = None
    user: str | None = None
    at: str | None = None
    system: str | None = None
    slice: str | None = None

    @model_validator(mode="after")
    def _names_answer_and_verdict(self) -> Self:
        if not self.prediction_id and not (self.input and self.output):
            raise ValueError("name prediction_id, or input and output: they tell which answer a row is about")
        if not self.vote and not self.correction:
            raise ValueError("name vote or correction; without them a row says nothing of an answer")
        return self


class Feedback(Section):
    """Where feedback lies, how it is read, and which votes are good and bad; only the stage `feedback` reads it."""

    path: Text
    log: Text
    columns: Annotated[Annotated[Literal["auto"], Tag("auto")] | Annotated[FeedbackColumns, Tag("named")], Discriminator(form)]
    up: Annotated[list[Text], Field(min_length=1)]
    down: Annotated[list[Text], Field(min_length=1)]

    @model_validator(mode="after")
    def _votes_are_clear(self) -> Self:
        if both := {vote.casefold() for vote in self.up} & {vote.casefold() for vote in self.down}:
            raise ValueError(f"{min(both)!r} is both in up and in down; leave it out of one")
        return self

    @property
    def wanted(self) -> bool:
        return Path(self.path) != NO_FEEDBACK
