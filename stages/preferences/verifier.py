"""Pairs from the task's own metric: the best and the worst sample of a prompt, or the reference where no sample is right."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from stages.evaluate import metrics
from stages.preferences.made import Made, pair
from stages.preferences.records import Pair, Sample, Vote
from stages.records import Example, Prediction, content_hash
from stages.slices import is_to_decline

TIE = 0.001  # what a sample loses that has the main score of another, but not its tie-break
ROUNDING = 1e-9
WRONG = 0.5  # a vote calls an answer bad only up to this score


def scored(examples: Sequence[Example], samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with all scores of the task and their `score`, see `_score`."""
    by_id = {example.id: example for example in examples}
    return [_scored(by_id[sample.example], sample) for sample in samples]


def _scored(example: Example, sample: Sample) -> Sample:
    fields = sample.model_dump(include={"text", "stopped", "new_tokens"})
    scores, _ = metrics.score(example, Prediction(example=example.id, system="sample", prompt_tokens=0, **fields))
    return Sample.model_validate(sample.model_dump(exclude={"id"}) | {"scores": scores, "score": _score(example, scores)})


def _score(example: Example, scores: dict[str, float]) -> float:
    """Return the main score of the task; a sample that misses the tie-break loses TIE.

    Extraction: share of right fields; tie-break: the whole record. Question answering: token F1, but 0 for declining what has
    an answer; where the right answer is to decline: whether it declines. Choice and classification: whether it is right.
    Summary and translation: the first score. For all other kinds, the tie-break is that the sample ended by itself.
    """
    main, tie = next(iter(scores.values())), scores["stop_rate"]
    if example.kind == "extraction":
        main, tie = scores["field_exact"], scores["record_exact"]
    elif example.kind == "text" and not is_to_decline(example.slices):
        main = scores["token_f1"] * scores["answered"]
    return round(max(0.0, main - TIE * (1 - tie)), 6)


def is_right(sample: Sample) -> bool:
    return sample.score == 1.0


def is_mixed(samples: Sequence[Sample]) -> bool:
    """Return whether the samples of a prompt differ in score."""
    return len({sample.score for sample in samples}) > 1


def by_prompt(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the samples by the id of their example."""
    return {id: list(group) for id, group in groupby(samples, key=lambda sample: sample.example)}


def made(examples: Sequence[Example], samples: Sequence[Sample], margin: float, reference: float) -> Made:
    """Return a pair for each prompt whose best and worst sample differ by `margin`, and votes where no pair is possible.

    Where no sample is right, the reference may be the better answer, in at most the share `reference` of all pairs. The
    prompts for it are taken in the order of their hash.
    """
    by_id, groups = {example.id: example for example in examples}, by_prompt(samples)
    own = {id: best for id, group in groups.items() if (best := _pair(by_id[id], group, margin))}
    taught = _taught(by_id, groups, own, margin, reference)
    found = Made(candidates=len(groups))
    for id, group in groups.items():
        if id in taught:
            found.pairs.append(_with_reference(by_id[id], group))
        elif id in own:
            found.pairs.append(own[id])
        elif votes := _votes(by_id[id], group):
            found.votes += votes
        else:
            found.dropped["gap below the margin" if is_mixed(group) else "equal scores"] += 1
    return found


def _taught(
    by_id: Mapping[str, Example], groups: Mapping[str, list[Sample]], own: Mapping[str, Pair], margin: float, share: float
) -> set[str]:
    """Return the prompts whose better answer is the reference, which their worst sample misses by the margin."""
    taught: set[str] = set()
    wrong = [
        id
        for id, group in groups.items()
        if not any(map(is_right, group))
        and 1 - (worst := min(group, key=_rank)).score >= margin - ROUNDING
        and worst.text != by_id[id].reference
    ]
    for id in sorted(wrong, key=lambda id: content_hash(["reference", id])):
        more = taught | {id}
        if len(more) <= share * len(own.keys() | more) + ROUNDING:
            taught = more
    return taught


def _pair(example: Example, samples: Sequence[Sample], margin: float) -> Pair | None:
    best, worst = max(samples, key=_rank), min(samples, key=_rank)
    if best.text == worst.text or best.score - worst.score < margin - ROUNDING:
        return None
    return pair(example, best, worst, "verifier", (best.score, worst.score))


def _with_reference(example: Example, samples: Sequence[Sample]) -> Pair:
    worst = min(samples, key=_rank)
    return Pair(
        example=example.id,
        prompt=example.prompt,
        chosen=example.reference,
        rejected=worst.text,
        rejected_stopped=worst.stopped,
        source="verifier",
        chosen_from="reference",
        rejected_from="sample",
        chosen_score=1.0,
        rejected_score=worst.score,
        parents=(example.id, worst.id),
    )


def _rank(sample: Sample) -> tuple[float, int]:
    """Return what orders the samples of a prompt; of equal ones the first is the best."""
    return sample.score, -sample.number


def _votes(example: Example, samples: Sequence[Sample]) -> list[Vote]:
    """Return a vote for each different text if all samples are right, or all are wrong."""
    good = all(map(is_right, samples))
    if not good and max(sample.score for sample in samples) > WRONG:
        return []
    texts = {sample.text: sample for sample in reversed(samples)}
    return [
        Vote(
            example=example.id,
            prompt=example.prompt,
            text=sample.text,
            stopped=sample.stopped,
            good=good,
            source="verifier",
            parents=(sample.id,),
        )
        for sample in reversed(texts.values())
    ]
