"""Filters of synthetic texts: each returns why it throws a text out, or None.

Novelty is ROUGE-L F1 as in Self-Instruct (Wang et al. 2023, arXiv:2212.10560, section 2.2), on the tokens of rouge_score
(lower-case alphanumeric runs); a Chinese, Japanese or Korean character is a token of its own.
"""

import re
import unicodedata
from collections.abc import Sequence

from stages.text.rouge import RougeL
from stages.text.words import CJK
from stages.text.words import repetition as repeated

HAN = re.compile(r"[\u3400-\u9fff]")
TOKEN = re.compile(rf"[{CJK}]|[a-z0-9]+")
LEFTOVER = re.compile(
    r"@|https?:|\[[^][]*\]|\{|\*\*|\d{3}[-. ]\d{4}|(?-i:\b[A-Z]{2} \d{5}\b)|\bSubject:|"
    r"\b(?:Dear|Sincerely|Regards|Mr|Mrs|Ms|Dr)\b|^(?:sure|here is|here's)\b|\b(?:as an ai|new complaint|my name is)\b",
    re.IGNORECASE,
)


def tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


def is_chinese(text: str) -> bool:
    """Return whether Chinese characters outnumber words of other scripts."""
    words = tokens(text)
    return 2 * sum(HAN.match(word) is not None for word in words) > len(words)


def length(text: str, low: int, high: int, by_spaces: bool = False) -> str | None:
    words = len(text.split() if by_spaces else tokens(text))
    return None if low <= words <= high else f"{words} words, allowed are {low} to {high}"


def finished(text: str, lost: str | None) -> str | None:
    """Reject an answer that is not whole, for the reason that the teacher's reply has, and one that ends inside a sentence."""
    return lost or (None if text.endswith(tuple(".!?。！？")) else "does not end like a sentence")


def leftovers(text: str) -> str | None:
    """Reject names, addresses, letter formulas and talk of the assistant; the layout adds its own."""
    found = LEFTOVER.search(text)
    return f"contains {found[0]!r}" if found else ("has a line break" if "\n" in text else None)


def repetition(text: str, highest: float) -> str | None:
    """Reject a high share of repeated 3-grams."""
    share = repeated(tokens(text))
    return f"{share:.2f} of its 3-grams are repeated, allowed is {highest}" if share > highest else None


def keywords(text: str, words: Sequence[str]) -> str | None:
    """Reject tasks that need more than text; keywords of Latin script match whole words in any case."""
    bounded = (rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word) for word in words)
    found = re.search("|".join(bounded), text, re.IGNORECASE) if words else None
    return f"contains {found[0]!r}" if found else None


def prefix(text: str, prefixes: Sequence[str]) -> str | None:
    found = next((prefix for prefix in prefixes if text.casefold().startswith(prefix.casefold())), None)
    return f"begins with {found!r}" if found else None


def punctuation(text: str, chinese: bool) -> str | None:
    """Reject a sign at the beginning; Chinese may open with a quotation mark or the bracket of a title."""
    category = unicodedata.category(text[0])
    is_opening = chinese and category in ("Ps", "Pi")
    return f"begins with {text[0]!r}" if category[0] in "PS" and not is_opening else None


def script(text: str, languages: Sequence[str]) -> str | None:
    """Reject other languages; English begins with an ASCII character, as published."""
    fits = ("en" in languages and text[0].isascii()) or ("zh" in languages and is_chinese(text))
    return None if fits else f"begins with {text[0]!r}: in none of {', '.join(languages)}"


class Novelty:
    """ROUGE-L F1 against the texts added so far; `check` adds none."""

    def __init__(self, texts: Sequence[str], highest: float) -> None:
        self.highest, self.seen = highest, RougeL(tokens)
        for text in texts:
            self.add(text)

    def check(self, text: str) -> str | None:
        found = self.seen.first_above(text, self.highest)
        return f"ROUGE-L {found.f1:.2f} with {self.seen.texts[found.place]!r}" if found else None

    def add(self, text: str) -> None:
        self.seen.add(text)

    def nearest(self, text: str) -> float:
        """Return the highest ROUGE-L F1 with any text seen; 0 if there is none."""
        return next((match.f1 for match in self.seen.nearest(text, 1)), 0.0)
