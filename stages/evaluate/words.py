"""Texts as words, sentences and a script, for languages with and without spaces; and whether an answer declines."""

import re
from collections import Counter

CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
TOKEN = re.compile(rf"{CJK.pattern}|(?:(?!{CJK.pattern})[^\W_])+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])(?![。！？”」])|\n")

# An answer declines when one of these stands in its first two sentences (’ is read as '). They are what a model says of itself
# or of its source: "customers who cannot log in" declines nothing, and an apology alone does not.
DECLINES = re.compile(
    "(?<![a-z])(?:"
    "i don't know|i do not know|i'm not sure|i am not sure|i can't|i cannot|i can not|i must decline|i'm unable|i am unable|"
    "i'm not able|i am not able|i have no information|i don't have enough|i don't have information|i don't have any info|"
    "no information about|cannot be answered|can't be answered|outside the scope|beyond the scope|not something i|"
    "not covered in|not mentioned in|not stated in|not found in the|does not say|doesn't say|"
    "不知道|我不清楚|我不确定|我不確定|我不能|我无法|我無法|无法回答|無法回答|不能回答|无法提供|無法提供|不能提供|"
    "没有相关信息|沒有相關資訊|未提及|没有提到|沒有提到|超出了|不在我的)"
)


def tokens(text: str) -> list[str]:
    """Lower-case words; each Chinese, Japanese or Korean character is one. A text of signs alone is not nothing.

    On ASCII text these are the tokens of rouge_score without stemming, and words with accents stay whole.
    """
    return TOKEN.findall(text.lower()) or text.split()


def sentences(text: str) -> list[str]:
    """Parts that end with a full stop, question or exclamation mark (Latin ones before a space), or with the line."""
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]


def script(text: str) -> str:
    """`zh`, `ja` or `ko` where most words are characters of that script, else `other`; Han with kana is Japanese."""
    words = tokens(text)
    found = Counter("ja" if w <= "\u30ff" else "ko" if w >= "\uac00" else "zh" for w in words if CJK.match(w))
    if 2 * found.total() <= len(words):
        return "other"
    return next((name for name in ("ja", "ko") if 5 * found[name] > found.total()), "zh")


def declines(text: str) -> bool:
    """Whether the answer says in its first two sentences that it gives none; see DECLINES."""
    return bool(DECLINES.search(" ".join(sentences(text)[:2]).lower().replace("’", "'")))
