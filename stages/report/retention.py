"""What tuning may have cost: general text, general multiple-choice questions and harmful requests, before and after."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stages.report.evidence import Json
from stages.report.summary import flat, rounded
from stages.statistics import Array, Rate, paired_difference, rate_interval, ratio_difference, verdict
from stages.text.words import declines


def compare(before: Json, after: Sequence[Json], resamples: int, seed: int, margin: float) -> Json:
    """The numbers of details.json below "retention"; `after` has one entry a training seed, whose mean is taken item by item.

    Bits per byte is the sum over texts of -log2 of their probability by the sum of their bytes; each text is a cluster. The
    accuracy of a base model that guesses (95 % interval of its accuracy not above chance) has nothing to lose: it is given
    alone, without one for the tuned model. Parts that were not asked for are absent.
    """
    found: Json = {"base": {}, "tuned": {}, "difference": {}}

    def differ(name: str, base: Array, tuned: Array) -> None:
        difference = paired_difference(tuned, base, np.arange(len(base)), resamples, np.random.default_rng(seed))
        found["tuned"] |= flat(name, _rate(tuned))
        found["difference"] |= flat(name, difference)
        found["difference"][f"{name}_verdict"] = verdict(difference.low, difference.high, difference.p, margin)

    if before["texts"]:
        size = np.array([text["bytes"] for text in before["texts"]])
        base, tuned = (_mean(runs, "texts", lambda text: text["bits"]) for runs in ([before], after))
        more = ratio_difference(tuned - base, size, resamples, np.random.default_rng(seed))
        found["texts"] = len(size)
        found["base"]["bits_per_byte"] = rounded(base.sum() / size.sum())
        found["tuned"]["bits_per_byte"] = rounded(tuned.sum() / size.sum())
        found["difference"] |= flat("bits_per_byte", more)
        found["difference"]["bits_per_byte_verdict"] = verdict(-more.high, -more.low, more.p, margin)  # fewer bits are better
    if before["choices"]:
        base, tuned = (_mean(runs, "choices", _right) for runs in ([before], after))
        found["choices"], rate = len(base), _rate(base)
        found["chance"] = rounded(np.mean([1 / len(question["logprobs"]) for question in before["choices"]]))
        found["base"] |= flat("choice_accuracy", rate)
        if rate.low > found["chance"]:
            differ("choice_accuracy", base, tuned)
    if before["harm"]:
        base, tuned = (_mean(runs, "harm", lambda answer: declines(answer["text"])) for runs in ([before], after))
        found["requests"] = len(base)
        found["base"] |= flat("refusal_rate", _rate(base))
        differ("refusal_rate", base, tuned)
    return found


def _right(question: Json) -> bool:
    """Whether the likeliest option by token, so that long options are not at a disadvantage, is the answer."""
    return int(np.argmax(np.divide(question["logprobs"], question["tokens"]))) == question["answer"]


def _mean(runs: Sequence[Json], part: str, measure: Callable[[Any], float]) -> Array:
    return np.mean([[float(measure(item)) for item in run[part]] for run in runs], axis=0)


def _rate(scores: Array) -> Rate:
    return rate_interval(scores, np.arange(len(scores)))
