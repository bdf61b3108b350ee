"""The records of preferences: samples of the tuned model, verdicts on them, pairs of answers to a prompt, and single votes."""

from typing import ClassVar, Literal

from pydantic import Field

from stages.records import Message, Record


class Sample(Record):
    """One of several answers of the tuned model to a training prompt, the `number`-th; `score` in [0, 1] is the verifier's.

    `stopped` is false if it reached the token limit. `scores` are those of the task.
    """

    prefix: ClassVar[str] = "sample"

    example: str
    number: int
    text: str
    stopped: bool
    new_tokens: int
    scores: dict[str, float] = Field(default_factory=dict)
    score: float = 0.0


class Verdict(Record):
    """A row that somebody wrote: a row of a file of pairs, or a rated row of a sheet, whose parent is the sample.

    `place` names file and row. `scores` are the ratings by criterion.
    """

    prefix: ClassVar[str] = "verdict"

    place: str
    scores: dict[str, int] = Field(default_factory=dict)


class Pair(Record):
    """Two answers to a prompt, of which one was judged better, and the source of the verdict.

    `chosen_logprob` and `rejected_logprob` (nats) are sums over an answer's tokens and its end, by the tuned model: the
    reference of DPO. Parents are the samples, the reference's row and the verdicts.
    """

    prefix: ClassVar[str] = "pair"

    example: str = ""
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_stopped: bool = True
    rejected_stopped: bool = True
    source: Literal["verifier", "judge", "people", "file", "feedback"]
    chosen_from: Literal["sample", "reference", "answer", "file", "correction"]
    rejected_from: Literal["sample", "reference", "answer", "file"]
    chosen_score: float | None = None
    rejected_score: float | None = None
    held_out: bool = False
    chosen_logprob: float = 0.0
    rejected_logprob: float = 0.0


class Vote(Record):
    """A single answer that was called good or bad, without a counterpart; a row for KTO. `logprob` is as in Pair."""

    prefix: ClassVar[str] = "vote"

    example: str = ""
    prompt: tuple[Message, ...]
    text: str
    stopped: bool = True
    good: bool
    source: Literal["verifier", "judge", "people", "file", "feedback"]
    held_out: bool = False
    logprob: float = 0.0
