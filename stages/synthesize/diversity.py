"""Diversity of synthetic texts: distinct n-grams among them, and ROUGE-L with the nearest seed."""

from collections import Counter
from collections.abc import Sequence

from stages.figures.synthesis import MethodFigures
from stages.synthesize.filters import Novelty, tokens


def figures(texts: Sequence[str], seeds: Sequence[str]) -> MethodFigures:
    """Return distinct-1 and -2 (Li et al. 2016, arXiv:1510.03055) and a histogram of ROUGE-L with the nearest seed."""
    novelty = Novelty(seeds, highest=1.0)
    tenths = Counter(min(int(10 * novelty.nearest(text)), 9) for text in texts)
    return {
        **distinct_figures(texts),
        "nearest_seed_rouge_l": [{"from": tenth / 10, "to": (tenth + 1) / 10, "count": tenths[tenth]} for tenth in range(10)],
    }


def distinct_figures(texts: Sequence[str]) -> MethodFigures:
    """Return distinct-1 and distinct-2 alone, for texts from facts or passages, which have no seeds."""
    return {"distinct_1": distinct(texts, 1), "distinct_2": distinct(texts, 2)}


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of distinct n-grams among all n-grams of the texts; 0 without any."""
    words = [tokens(text) for text in texts]
    grams = Counter(gram for text in words for gram in zip(*(text[start:] for start in range(n)), strict=False))
    return round(len(grams) / grams.total(), 4) if grams else 0.0
