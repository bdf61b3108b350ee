"""What tuning may have cost: general text, multiple-choice questions and refusals, before and after."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.figures.retention import Reply, Retained, ScoredChoice
from stages.params.headline import Ability
from stages.report.item_scores import rounded
from stages.report.results import Number, Numbers, flat
from stages.statistics import Array, Difference, Rate, paired_difference, rate_interval, ratio_difference, verdict
from stages.text.declining import declines

COUNTED = {
    "bits_per_byte": "texts",
    "choice_accuracy": "choices",
    "refusal_rate": "requests",
    "over_refusal_rate": "harmless_requests",
}
NO_VERDICT = (
    "Rates of refusals get no verdict: each alone rewards a useless model, one that refuses everything or one that refuses "
    "nothing."
)


class General(BaseModel):
    """One line of retention.jsonl: the score of each system on a text, a question or a request.

    It is the bits of a text, else 1 for the right choice or a refusal and 0 otherwise. `size` is the text's bytes, the number
    of the question's options, or 1.
    """

    model_config = ConfigDict(frozen=True)

    measure: Ability
    size: Annotated[int, Field(ge=0, le=10**9)]
    scores: dict[str, Annotated[float, Field(ge=0, le=1e9)]]

    @model_validator(mode="after")
    def _shares_are_at_most_one(self) -> Self:
        if self.measure != "bits_per_byte" and (self.size < 1 or max(self.scores.values(), default=0) > 1):
            raise ValueError(f"{self.measure}: size is at least 1 and each score is 0 or 1")
        return self


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


def items(found: Mapping[str, Retained]) -> list[General]:
    """Return each text, question and request with the scores of all systems, without its text."""

    def by_system(scores: Iterable[float]) -> dict[str, float]:
        return dict(zip(found, scores, strict=True))

    def refused(measure: Ability, replies: Iterable[Sequence[Reply]]) -> list[General]:
        return [General(measure=measure, size=1, scores=by_system(declines(reply.text) for reply in of)) for of in replies]

    texts, choices, harm, harmless = (
        zip(*(getattr(run, part) for run in found.values()), strict=True) for part in ("texts", "choices", "harm", "harmless")
    )
    return [
        *(General(measure="bits_per_byte", size=of[0].bytes, scores=by_system(text.bits for text in of)) for of in texts),
        *(General(measure="choice_accuracy", size=len(of[0].logprobs), scores=by_system(map(_right, of))) for of in choices),
        *refused("refusal_rate", harm),
        *refused("over_refusal_rate", harmless),
    ]


def compare(
    found: Iterable[General], before: Sequence[str], after: Sequence[str], resamples: int, seed: int, margin: float
) -> dict[str, Measure]:
    """Return each measure that was requested; `before` and `after` name one system per training seed, averaged item by item.

    Bits per byte is the sum over texts of -log2 of their probability, divided by the sum of their bytes; each text is a
    cluster. A base model that guesses (95 % interval of its accuracy not above chance) has nothing to lose, so no accuracy
    is given for the tuned model.
    """
    measures: dict[str, Measure] = {}
    rows: dict[str, list[General]] = {}
    for item in found:
        rows.setdefault(item.measure, []).append(item)

    def scores(measure: str) -> tuple[Array, Array]:
        base, tuned = (
            np.mean([[item.scores[system] for item in rows[measure]] for system in systems], axis=0)
            for systems in (before, after)
        )
        return base, tuned

    def difference(base: Array, tuned: Array) -> Difference:
        return paired_difference(tuned, base, np.arange(len(base)), resamples, np.random.default_rng(seed))

    if "bits_per_byte" in rows and (size := np.array([text.size for text in rows["bits_per_byte"]])).any():
        base, tuned = scores("bits_per_byte")
        more = ratio_difference(tuned - base, size, resamples, np.random.default_rng(seed))
        first, last = (float(bits.sum() / size.sum()) for bits in (base, tuned))
        outcome = verdict(-more.high, -more.low, more.p, margin)  # fewer bits are better
        measures["bits_per_byte"] = Measure(len(size), first, last, more, outcome)
    if "choice_accuracy" in rows:
        base, tuned = scores("choice_accuracy")
        rate, chance = _rate(base), float(np.mean([1 / question.size for question in rows["choice_accuracy"]]))
        if rate.low > rounded(chance):
            more = difference(base, tuned)
            outcome = verdict(more.low, more.high, more.p, margin)
            measures["choice_accuracy"] = Measure(len(base), rate, _rate(tuned), more, outcome, chance)
        else:
            measures["choice_accuracy"] = Measure(len(base), rate, chance=chance)
    for refusals in ("refusal_rate", "over_refusal_rate"):
        if refusals in rows:
            base, tuned = scores(refusals)
            measures[refusals] = Measure(len(base), _rate(base), _rate(tuned), difference(base, tuned))
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
