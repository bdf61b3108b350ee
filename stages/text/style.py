"""Style: the form that a row asks of its answer, whatever its content."""

import unicodedata

from stages.records import Style
from stages.text.comparing import LOOKS
from stages.text.words import tokens


def score(style: Style, answer: str) -> dict[str, float]:
    """Return whether the answer meets each demand of the style; words as in `tokens`, phrases regardless of case and form."""
    scores, words, folded = {}, len(tokens(answer)), _folded(answer)
    if style.min_words is not None or style.max_words is not None:
        longest = words if style.max_words is None else style.max_words
        scores["length_in_band"] = float((style.min_words or 0) <= words <= longest)
    if style.required:
        scores["required_phrases"] = float(all(_folded(phrase) in folded for phrase in style.required))
    if style.forbidden:
        scores["no_forbidden_phrases"] = float(not any(_folded(phrase) in folded for phrase in style.forbidden))
    return scores


def _folded(text: str) -> str:
    """Return the text without the differences of case, Unicode form, white space, quotes and dashes."""
    return " ".join(unicodedata.normalize("NFC", text).translate(LOOKS).casefold().split())
