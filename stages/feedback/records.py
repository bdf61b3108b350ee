"""The records of feedback: an answer that users saw, the line of the log that holds it, and the feedback of one user on it."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.records import Message, Record


class Answer(Record):
    """The answer of a system to a prompt, before any few-shot examples; its id is the `prediction_id` of feedback.

    `weights` is the hash of what answered, so that two trainings of one system differ. Both are empty where nothing tells.
    The same answer of the same weights to the same prompt has the same id, whenever it was given.
    """

    prefix: ClassVar[str] = "answer"

    system: str = ""
    weights: str = ""
    messages: tuple[Message, ...]
    choices: tuple[str, ...] = ()
    text: str
    stopped: bool = True


class Logged(BaseModel):
    """A line of the log that `tunetrail predict --log` writes: an answer, its id, and when it was given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prediction_id: str
    at: str
    system: str
    weights: str
    input: Annotated[tuple[Message, ...], Field(min_length=1)]
    output: str
    stopped: bool
    choices: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        return Answer(
            system=self.system,
            weights=self.weights,
            messages=self.input,
            choices=self.choices,
            text=self.output,
            stopped=self.stopped,
        )


class Feedback(Record):
    """The feedback of one user on an answer, which is its parent; `place` names the file and the row."""

    prefix: ClassVar[str] = "feedback"

    place: str
    vote: Literal["", "up", "down"] = ""
    correction: str = ""
    comment: str = ""
    user: str = ""
    at: str = ""
    slice: str = ""

    @property
    def says(self) -> str:
        """Return the vote; a correction rejects the answer, whatever the vote is."""
        return "down" if self.correction else self.vote
