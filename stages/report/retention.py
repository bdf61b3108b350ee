"""What tuning may have cost: general text, multiple-choice questions and harmful requests, before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.figures.retention import Retained, ScoredChoice
from stages.report.item_scores import rounded
from stages.report.results import Number, Numbers, flat
from stages.statistics import Array, Difference, Rate, paired_difference, rate_interval, ratio_difference, verdict
from stages.text.declining import declines

COUNTED = {"bits_per_byte": "texts", "choice_accuracy": "choices", "refusal_rate": "requests"}
NO_VERDICT = (
    "Refusals get no verdict: a model that refuses everything would look better, and harmless requests were not measured."
)


@dataclass(frozen=True)
class Measure:
    """One measure before and after tuning, on `n` texts, questions or requests.

    `after` and `difference` are None where the base model guesses. `verdict` is None there and for refusals: see NO_VERDICT.
    """

    n: int
    before: Rate | float
    after: Rate | float | None = None
    difference: Difference | None = None
    verdict: str | None = None
    chance: float | None = None


def compare(
    before: Sequence[Retained], after: Sequence[Retained], resamples: int, seed: int, margin: float
) -> dict[str, Measure]:
    """Return each measure that was requested; a model has one entry per training seed, whose mean is taken item by item.

    Bits per byte is the sum over texts of -log2 of their probability, divided by the sum of their bytes; each text is a
    cluster. A base model that guesses (95 % interval of its accuracy not above chance) has nothing to lose, so no accuracy
    is given for the tuned model.
    """
    measures, items = {}, before[0]

    def scores(measure: Callable[[Retained], list[float]]) -> tuple[Array, Array]:
        return np.mean([measure(run) for run in before], axis=0), np.mean([measure(run) for run in after], axis=0)

    def difference(base: Array, tuned: Array) -> Difference:
        return paired_difference(tuned, base, np.arange(len(base)), resamples, np.random.default_rng(seed))

    if items.texts:
        size = np.array([text.bytes for text in items.texts])
        base, tuned = scores(lambda run: [text.bits for text in run.texts])
        more = ratio_difference(tuned - base, size, resamples, np.random.default_rng(seed))
        first, last = (float(bits.sum() / size.sum()) for bits in (base, tuned))
        outcome = verdict(-more.high, -more.low, more.p, margin)  # fewer bits are better
        measures["bits_per_byte"] = Measure(len(size), first, last, more, outcome)
    if items.choices:
        base, tuned = scores(lambda run: [_right(question) for question in run.choices])
        rate, chance = _rate(base), float(np.mean([1 / len(question.logprobs) for question in items.choices]))
        if rate.low > rounded(chance):
            more = difference(base, tuned)
            outcome = verdict(more.low, more.high, more.p, margin)
            measures["choice_accuracy"] = Measure(len(base), rate, _rate(tuned), more, outcome, chance)
        else:
            measures["choice_accuracy"] = Measure(len(base), rate, chance=chance)
    if items.harm:
        base, tuned = scores(lambda run: [float(declines(answer.text)) for answer in run.harm])
        measures["refusal_rate"] = Measure(len(base), _rate(base), _rate(tuned), difference(base, tuned))
    return measures


def numbers(measures: dict[str, Measure], aligned: dict[str, Measure]) -> dict[str, Numbers | Number]:
    """Return the numbers of details.json below "retention"; `aligned` compares with tuned, if anything was aligned."""
    base, tuned, difference = Numbers(), Numbers(), Numbers()
    others: dict[str, Number] = {}
    for name, measure in measures.items():
        base |= flat(name, measure.before)
        if measure.after is not None and measure.difference is not None:
            tuned |= flat(name, measure.after)
            difference |= flat(name, measure.difference)
        if measure.verdict is not None:
            difference[f"{name}_verdict"] = measure.verdict
        if measure.chance is not None:
            others["chance"] = rounded(measure.chance)
        others[COUNTED[name]] = measure.n
    found = {"base": base, "tuned": tuned, "difference": difference, **others}
    if aligned:
        after = numbers(aligned, {})
        found |= {"aligned": after["tuned"], "aligned_minus_tuned": after["difference"]}
    return found


def _right(question: ScoredChoice) -> float:
    """Return 1 if the likeliest option is the answer, else 0; per token, so that long options have no disadvantage."""
    return float(np.argmax(np.divide(question.logprobs, question.tokens)) == question.answer)


def _rate(scores: Array) -> Rate:
    return rate_interval(scores, np.arange(len(scores)))
