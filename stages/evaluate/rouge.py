"""Summaries: ROUGE-1, -2, -L, -Lsum by rouge_score with tokens for any language, and ROUGE-S."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

from stages.records import Example, Prediction
from stages.text.words import sentences, tokens

# ROUGE-Lsum and ROUGE-S take quadratic time and see only the beginnings of longer texts.
LONGEST, SENTENCES = 1000, 100  # words and sentences


class Rates(NamedTuple):
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Tokenizer:
    """What rouge_score wants: an object with a method `tokenize`."""

    tokenize: Callable[[str], list[str]]


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Return the F1 of each ROUGE (Lin 2004, W04-1013) as scores, precision and recall as measures.

    Of equal words all are 1, also where one word has no pair that ROUGE-2 and ROUGE-S could compare.
    """
    given, right = tokens(prediction.text), tokens(example.reference)
    found = rouge(prediction.text, example.reference)
    found["rouge_s"] = rouge_s(given, right)
    if given == right:
        found = dict.fromkeys(found, Rates(1.0, 1.0, 1.0))
    measures = {f"{name}_{rate}": getattr(rates, rate) for name, rates in found.items() for rate in ("precision", "recall")}
    return {name: rates.f1 for name, rates in found.items()}, measures


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return precision and recall of each ROUGE; that of a corpus is the mean over its items."""
    measured = [score(example, prediction)[1] for example, prediction in zip(examples, predictions, strict=True)]
    return {name: sum(measures[name] for measures in measured) / len(measured) for name in measured[0]}


def rouge(answer: str, reference: str, tokenize: Callable[[str], list[str]] = tokens) -> dict[str, Rates]:
    """Use rouge_score with other tokens: its own find nothing in Chinese and split words at accents. Lsum uses sentences."""
    from rouge_score.rouge_scorer import RougeScorer

    def scored(name: str, texts: Sequence[str]) -> Rates:
        return Rates(*RougeScorer([name], tokenizer=Tokenizer(tokenize)).score(*texts)[name])

    listed = [sentences(text) for text in (reference, answer)]
    whole = ["\n".join(parts) for parts in listed]
    return {
        "rouge_1": scored("rouge1", whole),
        "rouge_2": scored("rouge2", whole),
        "rouge_l": rouge_l(answer, reference, tokenize),
        "rouge_lsum": scored("rougeLsum", ["\n".join(_beginning(parts, tokenize)) for parts in listed]),
    }


def _beginning(parts: Sequence[str], tokenize: Callable[[str], list[str]]) -> Iterator[str]:
    """Yield at most SENTENCES sentences with together at most LONGEST words."""
    left = LONGEST
    for part in parts[:SENTENCES]:
        words = tokenize(part)
        yield part if len(words) <= left else " ".join(words[:left])
        left = max(0, left - len(words))


def rouge_l(answer: str, reference: str, tokenize: Callable[[str], list[str]] = tokens) -> Rates:
    """Return the numbers of rouge_score; rapidfuzz finds the longest common subsequence of long texts much faster."""
    given, right = tokenize(answer), tokenize(reference)
    longest = LCSseq.similarity(given, right)
    precision, recall = longest / max(len(given), 1), longest / max(len(right), 1)
    return Rates(precision, recall, 2 * precision * recall / (precision + recall) if longest else 0.0)


def rouge_s(given: Sequence[str], right: Sequence[str]) -> Rates:
    """Return skip-bigram co-occurrence (Lin 2004, section 5): pairs of words in order, with any gap, counted as a bag."""
    pairs, wanted = (Counter(combinations(words[:LONGEST], 2)) for words in (given, right))
    both = (pairs & wanted).total()
    total = pairs.total() + wanted.total()
    return Rates(both / max(pairs.total(), 1), both / max(wanted.total(), 1), 2 * both / max(total, 1))
