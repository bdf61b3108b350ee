"""Words, sentences and script of a text, with or without spaces between words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import regex

CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # kana, Han, Hangul
IS_CJK = re.compile(f"[{CJK}]")
TOKEN = regex.compile(rf"[{CJK}]\p{{M}}*|(?:(?![{CJK}])[\p{{L}}\p{{N}}][\p{{M}}\u200c\u200d]*)+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])(?![。！？”」])|\n")


def tokens(text: str) -> list[str]:
    """Return lower-case words; each Chinese, Japanese or Korean character is one. Text without any gives its parts.

    On ASCII text these are the tokens of rouge_score without stemming. Words keep the combining marks of their script.
    """
    return TOKEN.findall(unicodedata.normalize("NFC", text).lower()) or text.split()


def sentences(text: str) -> list[str]:
    """Split at full stops, question and exclamation marks (Latin ones before a space) and at line ends."""
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]


def script(text: str) -> str:
    """Return `zh`, `ja` or `ko` if most words are characters of that script, else `other`; Han with kana is Japanese."""
    words = tokens(text)
    found = Counter("ja" if w <= "\u30ff" else "ko" if w >= "\uac00" else "zh" for w in words if IS_CJK.match(w))
    if 2 * found.total() <= len(words):
        return "other"
    return next((name for name in ("ja", "ko") if 5 * found[name] > found.total()), "zh")


def repetition(words: Sequence[str]) -> float:
    """Return the share of 3-grams that repeat an earlier one."""
    grams = Counter(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(grams) / grams.total() if grams else 0.0
