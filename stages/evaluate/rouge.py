"""Summaries: ROUGE-1, -2, -L, -Lsum by rouge_score with tokens for any language, ROUGE-W and ROUGE-S."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

from stages.records import Example, Prediction
from stages.text.words import sentences, tokens

# ROUGE-Lsum, ROUGE-W and ROUGE-S take quadratic time and see only the beginnings of longer texts.
LONGEST, SENTENCES = 1000, 100  # words and sentences
WEIGHT = 1.2  # of ROUGE-W, where k words in a row count k**WEIGHT; the usual option -w of the script ROUGE-1.5.5


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
    found |= {"rouge_w": rouge_w(given, right), "rouge_s": rouge_s(given, right)}
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
    return _rates(longest / max(len(given), 1), longest / max(len(right), 1))


def _rates(precision: float, recall: float) -> Rates:
    return Rates(precision, recall, 2 * precision * recall / (precision + recall) if precision else 0.0)


def rouge_w(given: Sequence[str], right: Sequence[str], weight: float = WEIGHT) -> Rates:
    """Return the weighted longest common subsequence (Lin 2004, section 4): words in a row count more than words apart.

    WLCS is the sum of f(k) = k**weight over the runs of k common words that are neighbours in both texts. For a reference of
    m words and an answer of n, recall is f⁻¹(WLCS / f(m)) and precision f⁻¹(WLCS / f(n)). As in the paper, two equal words
    always extend the subsequence, even where it would weigh more without them. ROUGE-1.5.5 divides by f(f(m)) in recall.
    """
    given, right = given[:LONGEST], right[:LONGEST]
    gains = [(run + 1) ** weight - run**weight for run in range(len(right))]
    best, runs = [0.0] * (len(right) + 1), [0] * (len(right) + 1)  # a row of the paper's tables c and w
    for word in given:
        left, diagonal, run = 0.0, 0.0, 0  # c(i, j - 1), c(i - 1, j - 1), w(i - 1, j - 1)
        for j, other in enumerate(right, 1):
            above, run_above = best[j], runs[j]
            if word == other:
                left = diagonal + gains[run]
                runs[j] = run + 1
            else:
                left = above if above > left else left  # max() would double the time
                runs[j] = 0
            best[j], diagonal, run = left, above, run_above
    precision, recall = ((best[-1] / max(len(words), 1) ** weight) ** (1 / weight) for words in (given, right))
    return _rates(precision, recall)


def rouge_s(given: Sequence[str], right: Sequence[str]) -> Rates:
    """Return skip-bigram co-occurrence (Lin 2004, section 5): pairs of words in order, with any gap, counted as a bag."""
    pairs, wanted = (Counter(combinations(words[:LONGEST], 2)) for words in (given, right))
    both = (pairs & wanted).total()
    total = pairs.total() + wanted.total()
    return Rates(both / max(pairs.total(), 1), both / max(wanted.total(), 1), 2 * both / max(total, 1))
