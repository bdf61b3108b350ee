"""What a source of pairs returns: its pairs, its single votes, the rows they come from, and the candidates that it dropped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from stages.preferences.records import Pair, Sample, Verdict, Vote
from stages.records import Example

R = TypeVar("R", Pair, Sample, Vote)


@dataclass
class Made:
    """`dropped` counts candidates that became neither a pair nor votes, and pairs and votes left out later, by reason.

    `verdicts` are the rows of files and sheets that the pairs and votes name as parents.
    """

    candidates: int = 0
    pairs: list[Pair] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    verdicts: list[Verdict] = field(default_factory=list)


def pair(
    example: Example,
    best: Sample,
    worst: Sample,
    source: Literal["verifier", "people"],
    scores: tuple[float, float],
    origin: Literal["sample", "answer"] = "sample",
    verdicts: Sequence[Verdict] = (),
) -> Pair:
    """Return the pair of two answers to the prompt of an example, with the scores of both and the verdicts on them."""
    return Pair(
        example=example.id,
        prompt=example.prompt,
        chosen=best.text,
        rejected=worst.text,
        chosen_stopped=best.stopped,
        rejected_stopped=worst.stopped,
        source=source,
        chosen_from=origin,
        rejected_from=origin,
        chosen_score=scores[0],
        rejected_score=scores[1],
        parents=(best.id, worst.id, *(verdict.id for verdict in verdicts)),
    )


def changed(record: R, **fields: Any) -> R:
    """Return a record with other values in these fields, and its new id."""
    return type(record).model_validate(record.model_dump(exclude={"id"}) | fields)
