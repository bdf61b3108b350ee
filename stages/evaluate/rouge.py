"""Summaries: ROUGE-1, -2, -L, -Lsum by rouge_score with tokens for any language, and ROUGE-S."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import NamedTuple

from stages.records import Example, Prediction
from stages.text.words import sentences, tokens

NAMES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL", "rouge_lsum": "rougeLsum"}


class Rates(NamedTuple):
    precision: float
    recall: float
    f1: float


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Return the F1 of each ROUGE (Lin 2004, W04-1013) as scores, precision and recall as measures."""
    found = rouge(prediction.text, example.reference)
    found["rouge_s"] = rouge_s(tokens(prediction.text), tokens(example.reference))
    measures = {f"{name}_{rate}": getattr(rates, rate) for name, rates in found.items() for rate in ("precision", "recall")}
    return {name: rates.f1 for name, rates in found.items()}, measures


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return precision and recall of each ROUGE; that of a corpus is the mean over its items."""
    measured = [score(example, prediction)[1] for example, prediction in zip(examples, predictions, strict=True)]
    return {name: sum(measures[name] for measures in measured) / len(measured) for name in measured[0]}


def rouge(
    answer: str, reference: str, names: Sequence[str] = tuple(NAMES), tokenize: Callable[[str], list[str]] = tokens
) -> dict[str, Rates]:
    """Use rouge_score with other tokens: its own find nothing in Chinese and split words at accents. Lsum uses sentences."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([NAMES[name] for name in names], tokenizer=SimpleNamespace(tokenize=tokenize))
    by_sentence = ("\n".join(sentences(text)) for text in (reference, answer))
    found = scorer.score(*by_sentence)
    return {name: Rates(*found[NAMES[name]]) for name in names}


def rouge_s(given: Sequence[str], right: Sequence[str]) -> Rates:
    """Return skip-bigram co-occurrence (Lin 2004, section 5): pairs of words in order, with any gap, counted as a bag."""
    pairs, wanted = Counter(combinations(given, 2)), Counter(combinations(right, 2))
    both = (pairs & wanted).total()
    total = pairs.total() + wanted.total()
    return Rates(both / max(pairs.total(), 1), both / max(wanted.total(), 1), 2 * both / max(total, 1))
