"""Pairs from a teacher that compares two samples of a prompt in both orders, without the reference (RLAIF).

Its verdicts are measured too: how often both orders agree, whether the answer shown first or the longer one wins, and how
often the task's metric confirms them.
"""

from collections.abc import Iterable, Sequence

from stages.figures.preferences import Judged, LengthClass
from stages.judging import verdicts
from stages.preferences import verifier
from stages.preferences.made import Made
from stages.preferences.records import Pair, Sample
from stages.records import Call, Example
from stages.teachers.teacher import Teacher

# Classes of the longer answer's length to the shorter one's, each up to a ratio, in characters.
RATIOS = {"up to 1.1": 1.1, "1.1 to 1.5": 1.5, "above 1.5": float("inf")}


def made(
    examples: Sequence[Example], samples: Sequence[Sample], teacher: Teacher, prompts: int, max_new_tokens: int
) -> tuple[Made, Judged]:
    """Return pairs for the first `prompts` examples, and what the verdicts are worth.

    Of each prompt the first two different texts are compared: scores must not choose them, or the judge would be measured on
    easy pairs.
    """
    by_id, groups = {example.id: example for example in examples}, verifier.by_prompt(samples)
    asked = {id: _two(groups[id]) for id in list(groups)[:prompts]}
    compared = [(by_id[id], two) for id, two in asked.items() if two]
    texts = [(first.text, second.text) for _, (first, second) in compared]
    limit = verdicts.greedy(max_new_tokens)
    calls = teacher.answer(verdicts.both_orders([example for example, _ in compared], texts, limit, with_reference=False))
    found = verdicts.read(calls)

    result = Made(candidates=len(asked))
    result.pairs = [_pair(*compared[number], first, calls[2 * number : 2 * number + 2]) for number, first in found.wins.items()]
    result.dropped.update(
        {
            "equal texts": len(asked) - len(compared),
            "no verdict": len(compared) - len(found.usable),
            "inconsistent verdicts": len(found.usable) - len(found.agreed),
            "tie": len(found.agreed) - len(found.wins),
        }
    )
    result.dropped = +result.dropped  # without zeros
    return result, _judged(found, [two for _, two in compared])


def _two(samples: Sequence[Sample]) -> tuple[Sample, Sample] | None:
    first, *others = samples
    return next(((first, other) for other in others if other.text != first.text), None)


def _pair(example: Example, two: tuple[Sample, Sample], first: bool, calls: Iterable[Call | None]) -> Pair:
    chosen, rejected = two if first else two[::-1]
    return Pair(
        example=example.id,
        prompt=example.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_stopped=chosen.stopped,
        rejected_stopped=rejected.stopped,
        source="judge",
        chosen_from="sample",
        rejected_from="sample",
        chosen_score=chosen.score,
        rejected_score=rejected.score,
        parents=(chosen.id, rejected.id, *(call.id for call in calls if call)),
    )


def _judged(found: verdicts.Verdicts, compared: Sequence[tuple[Sample, Sample]]) -> Judged:
    scores = {number: compared[number][0].score - compared[number][1].score for number in found.wins}
    lengths = {number: [len(sample.text) for sample in compared[number]] for number in found.wins}
    agreement = [(gap > 0) == found.wins[number] for number, gap in scores.items() if gap]
    longer: dict[str, list[bool]] = {ratio: [] for ratio in RATIOS}
    for number, (first, second) in lengths.items():
        if first != second:
            longer[_class(first, second)].append((first > second) == found.wins[number])
    return Judged(
        prompts=len(compared),
        wins=len(found.wins),
        ties=len(found.agreed) - len(found.wins),
        inconsistent=len(found.usable) - len(found.agreed),
        unusable=len(compared) - len(found.usable),
        consistency=_share([number in found.agreed for number in found.usable]),
        first_shown=_share(found.for_first_shown),
        longer_won=_share([won for wins in longer.values() for won in wins]),
        by_length=[LengthClass(ratio=ratio, wins=len(wins), longer_won=_share(wins)) for ratio, wins in longer.items()],
        compared=len(agreement),
        agreement=_share(agreement),
    )


def _class(first: int, second: int) -> str:
    longer, shorter = max(first, second), max(1, min(first, second))
    return next(name for name, most in RATIOS.items() if longer <= most * shorter)


def _share(hits: Sequence[bool]) -> float | None:
    return round(sum(hits) / len(hits), 6) if hits else None
