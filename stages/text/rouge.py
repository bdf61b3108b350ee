"""ROUGE-L between texts, fast enough for large pools: each token becomes one character, and rapidfuzz compares strings.

ROUGE-L F1 is 2·LCS / (m + n) for texts of m and n tokens whose longest common subsequence has LCS tokens (Lin 2004, W04-1013).
"""

import sys
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq

FIRST = 0xE000  # first of the characters that stand for tokens; surrogates, before it, are not characters
# 1 - (m + n - 2·LCS) / (m + n), rounded; rapidfuzz skips pairs whose lengths cannot reach a cutoff.
SIMILARITY = Indel.normalized_similarity
ROUNDING = 1e-3


class Match(NamedTuple):
    """The index of an added text, and its ROUGE-L F1 with the query."""

    place: int
    f1: float


class RougeL:
    """A pool of texts, searched by ROUGE-L F1."""

    def __init__(self, tokenize: Callable[[str], Sequence[str]], texts: Sequence[str] = ()) -> None:
        self.tokenize, self.texts = tokenize, list[str]()
        self._letters: dict[str, int] = {}
        self._encoded: list[Sequence[Hashable]] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self.texts.append(text)
        self._encoded.append(self._encode(text))

    def first_above(self, text: str, lowest: float) -> Match | None:
        """Return the first text whose F1 is at least `lowest`; the exact fraction decides."""
        encoded = self._encode(text)
        cutoff = lowest - ROUNDING
        for _, _, place in process.extract_iter(encoded, self._encoded, scorer=SIMILARITY, score_cutoff=cutoff):
            if (f1 := rouge_l(encoded, self._encoded[place])) >= lowest:
                return Match(place, f1)
        return None

    def nearest(self, text: str, count: int) -> list[Match]:
        """Return the `count` nearest texts, the nearest first; of equals the first added."""
        encoded = self._encode(text)
        found = process.extract(encoded, self._encoded, scorer=SIMILARITY, limit=count)
        return [Match(place, rouge_l(encoded, candidate)) for candidate, _, place in found]

    def _encode(self, text: str) -> Sequence[Hashable]:
        """Return one character per token, or its number where there are more different tokens than characters."""
        numbers = [self._letters.setdefault(token, FIRST + len(self._letters)) for token in self.tokenize(text)]
        return "".join(map(chr, numbers)) if max(numbers, default=0) <= sys.maxunicode else numbers


def rouge_l(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Return the F1 of the longest common subsequence of two sequences of tokens; 0 if one is empty."""
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b)) if a and b else 0.0
