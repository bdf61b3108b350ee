"""Filters of synthetic texts: each looks at one text and returns why it is thrown out, or None.

Novelty is ROUGE-L F1 as in Self-Instruct (Wang et al. 2023, arXiv:2212.10560, section 2.2), on the tokens of rouge_score
(lower-case alphanumeric runs); a Chinese, Japanese or Korean character is a token of its own.
"""

import re
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import LCSseq

TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[a-z0-9]+")
LEFTOVER = re.compile(
    r"@|https?:|\[[^\]]*\]|\{|\*\*|\d{3}[-. ]\d{4}|(?-i:\b[A-Z]{2} \d{5}\b)|\bSubject:|"
    r"\b(?:Dear|Sincerely|Regards|Mr|Mrs|Ms|Dr)\b|^(?:sure|here is|here's)\b|\b(?:as an ai|new complaint|my name is)\b",
    re.IGNORECASE,
)


def tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


def length(text: str, low: int, high: int) -> str | None:
    words = len(tokens(text))
    return None if low <= words <= high else f"{words} words, allowed are {low} to {high}"


def finished(text: str, stopped: bool) -> str | None:
    return None if stopped and text.endswith(tuple(".!?。！？")) else "does not end like a sentence"


def leftovers(text: str) -> str | None:
    """Names, addresses, letter formulas and talk of the assistant: the layout adds its own, so a body must have none."""
    found = LEFTOVER.search(text)
    return f"contains {found[0]!r}" if found else ("has a line break" if "\n" in text else None)


def repetition(text: str, highest: float) -> str | None:
    """Share of 3-grams that were there before."""
    words = tokens(text)
    grams = Counter(zip(words, words[1:], words[2:], strict=False))
    share = 1 - len(grams) / grams.total() if grams else 0.0
    return f"{share:.2f} of its 3-grams are repeated, allowed is {highest}" if share > highest else None


class Novelty:
    """ROUGE-L F1 against every text seen so far; `check` remembers nothing, `add` does."""

    def __init__(self, texts: Sequence[str], highest: float) -> None:
        self.highest = highest
        self.seen = [(text, tokens(text)) for text in texts]

    def check(self, text: str) -> str | None:
        words = tokens(text)
        for other, seen in self.seen:
            if (f1 := rouge_l(words, seen, self.highest)) >= self.highest:
                return f"ROUGE-L {f1:.2f} with {other!r}"
        return None

    def add(self, text: str) -> None:
        self.seen.append((text, tokens(text)))


def rouge_l(a: Sequence[str], b: Sequence[str], at_least: float = 0.0) -> float:
    """F1 of the longest common subsequence, 2·LCS / (m + n); pairs that cannot reach `at_least` are not compared and give 0."""
    if not a or not b or 2 * min(len(a), len(b)) / (len(a) + len(b)) < at_least:
        return 0.0
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b))
