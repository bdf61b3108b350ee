"""The metrics of one answer and of all answers of a system: those of the kind of task, and those of every answer."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import exp, log

from stages.evaluate import answering, choice, extra, extraction, rouge, translation
from stages.records import Example, Prediction, TaskKind
from stages.text import style
from stages.text.words import repetition, tokens

SCORE: dict[TaskKind, Callable[[Example, Prediction], tuple[dict[str, float], dict[str, float]]]] = {
    "extraction": extraction.score,
    "text": answering.score,
    "choice": choice.score,
    "classification": choice.score,
    "summary": rouge.score,
    "translation": translation.score,
}
Totals = Mapping[str, float | str]  # by name; a text says how others were computed
TOTALS: list[tuple[set[TaskKind], Callable[[Sequence[Example], Sequence[Prediction]], Totals]]] = [
    ({"extraction"}, extraction.totals),
    ({"text"}, answering.totals),
    ({"choice", "classification"}, choice.totals),
    ({"summary"}, rouge.totals),
    ({"translation"}, translation.totals),
]


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Return scores, each in [0, 1] and higher is better, and measures, which are other numbers of this answer.

    Every answer has the score `stop_rate`: whether the model stopped by itself. Its measures are `empty`, `repetition` (share
    of 3-grams seen before in it) and `length_ratio` (words of the answer to words of the reference). Where the likelihood of
    the reference is known, `bits` is that of the reference with its end token, `bytes` its length in UTF-8.
    """
    scores, measures = SCORE[example.kind](example, prediction)
    if example.style:
        scores |= style.score(example.style, prediction.text)
    (given, repeated), (right, _) = _form(prediction.text), _form(example.reference)
    measures |= {"empty": float(not prediction.text.strip()), "repetition": repeated}
    if right:
        measures["length_ratio"] = given / right
    if prediction.reference_logprob is not None:
        measures |= {"bits": -prediction.reference_logprob / log(2), "bytes": float(len(example.reference.encode()))}
    return {**scores, "stop_rate": float(prediction.stopped)}, measures


def by_dataset(
    examples: Sequence[Example], predictions: Sequence[Prediction], further: Sequence[str]
) -> dict[str, float | str]:
    """Return the totals over all rows, with `further` metrics of the hub; in a mixture also by data set, as macro_f1@name."""
    found: dict[str, float | str] = {}
    for name in dict.fromkeys(["", *(example.dataset for example in examples)]):
        pairs = [(e, given) for e, given in zip(examples, predictions, strict=True) if name in ("", e.dataset)]
        chosen, answers = [e for e, _ in pairs], [given for _, given in pairs]
        hub = extra.totals(further, [given.text for given in answers], [e.reference for e in chosen])
        numbers = {**totals(chosen, answers), **hub}
        found |= {f"{metric}@{name}" if name else metric: number for metric, number in numbers.items()}
    return found


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Totals:
    """Return the numbers of one system that are not means over items; `predictions` are in the order of the examples.

    `questions` counts the rows, a question in several orders of its options once; without one it is left out.
    `length_ratio`, `perplexity` (per token of the reference) and `bits_per_byte` divide sums by sums, so long items weigh more.
    """
    pairs = list(zip(examples, predictions, strict=True))
    numbers: dict[str, float | str] = {}
    for kinds, family in TOTALS:
        if chosen := [pair for pair in pairs if pair[0].kind in kinds]:
            numbers |= family([example for example, _ in chosen], [prediction for _, prediction in chosen])
    if again := choice.asked_again(examples):
        numbers["questions"] = len(pairs) - again
    forms = [_form(prediction.text) for prediction in predictions]
    numbers["empty"] = sum(not prediction.text.strip() for prediction in predictions) / max(len(pairs), 1)
    numbers["repetition"] = sum(repeated for _, repeated in forms) / max(len(pairs), 1)
    if right := sum(_form(example.reference)[0] for example in examples):
        numbers["length_ratio"] = sum(words for words, _ in forms) / right
    measured = [(e, p, p.reference_logprob) for e, p in pairs if p.reference_logprob is not None]
    if measured:
        nats = -sum(logprob for _, _, logprob in measured)
        numbers["perplexity"] = exp(nats / sum(prediction.reference_tokens for _, prediction, _ in measured))
        numbers["bits_per_byte"] = nats / log(2) / sum(len(example.reference.encode()) for example, _, _ in measured)
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in numbers.items()}


@cache
def _form(text: str) -> tuple[int, float]:
    """Return the number of words and the share of repeated 3-grams; the scores and the totals need both."""
    words = tokens(text)
    return len(words), repetition(words)
