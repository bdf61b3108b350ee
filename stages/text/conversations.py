"""Which turns tell a conversation from others, so that rows unrolled from one conversation are known by its beginning."""

from collections.abc import Sequence

import regex

from stages.records import Message
from stages.text.comparing import content
from stages.text.words import CJK

# Words and signs of the user that tell; fewer, such as "Hi there", begin conversations that have nothing else in common.
TELLING = 3
CHARACTER, CHARACTERS = regex.compile(rf"[{CJK}]"), 2  # of Chinese, Japanese or Korean, and how many make a word
NUMBER = regex.compile(r"\d\d|\d.*\w|\w.*\d", regex.DOTALL)  # but not the 1 of a menu


def beginning(turns: Sequence[Message]) -> Sequence[Message]:
    """Return the first turns, until the user has written TELLING words or a number; all if that never happens."""
    words = 0.0
    for number, turn in enumerate(turns[:-1], start=1):
        if turn.role == "user":
            words += _words(turn.content)
            if words >= TELLING or NUMBER.search(turn.content):
                return turns[:number]
    return turns


def tells(text: str) -> bool:
    """Return whether a turn is more than a greeting."""
    return _words(text) >= TELLING or bool(NUMBER.search(text))


def _words(text: str) -> float:
    parts = content.__wrapped__(text)
    characters = sum(bool(CHARACTER.match(part)) for part in parts)
    return len(parts) - characters + characters / CHARACTERS
