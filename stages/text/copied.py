"""Texts that are copied from a prompt: the pieces that they are made of, and whether a text is such a copy."""

from collections.abc import Sequence

import regex

from stages.records import Message
from stages.text.words import TOKEN

PIECE = regex.compile(rf"{TOKEN.pattern}|[\s\S]")


def pieces(text: str) -> list[str]:
    """Return what a copied text is made of: whole words, and each other character."""
    return [found.group() for found in PIECE.finditer(text)]


def spaced(text: str) -> str:
    """Return the text with single spaces, as which a copy may write its white space."""
    return " ".join(text.split())


def origin(prompt: Sequence[Message]) -> str:
    """Return what the user wrote in a prompt, from which its answer is copied."""
    return "\n".join(message.content for message in prompt if message.role == "user")


def is_copy(text: str, given: str) -> bool:
    """Return whether the text is a run of pieces of the given one, white space aside as in `spaced`, without outer spaces."""
    return text.strip(" ") == text and any(_has(pieces(whole), pieces(text)) for whole in (given, spaced(given)))


def _has(whole: list[str], part: list[str]) -> bool:
    starts = (place for place, piece in enumerate(whole) if piece == part[0]) if part else iter([0])
    return any(whole[start : start + len(part)] == part for start in starts)
