"""A chat as the model sees it: its text in pieces, and whether the model learns to write each."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from stages.terminal import visible
from stages.text.chat import IGNORE, Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "⟦", "⟧"
WRITTEN = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in (OPEN, CLOSE)})


class Piece(NamedTuple):
    text: str
    is_trained: bool


def pieces(sequence: Encoded, tokenizer: "PreTrainedTokenizerBase") -> list[Piece]:
    """Return the text of a sequence, control characters written out."""
    if sequence.apart:
        runs = [(sequence.input_ids, False), (sequence.labels, True)]
    else:
        pairs = zip(sequence.input_ids, sequence.labels, strict=True)
        by_label = groupby(pairs, key=lambda pair: pair[1] != IGNORE)
        runs = [([id for id, _ in group], is_trained) for is_trained, group in by_label]
    return [
        Piece(visible(str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))), is_trained) for ids, is_trained in runs
    ]


def marked(found: Iterable[Piece]) -> str:
    """Return the pieces as one text; OPEN and CLOSE enclose what is trained on, and stand nowhere else."""
    texts = ((piece.text.translate(WRITTEN), piece.is_trained) for piece in found)
    return "".join(f"{OPEN}{text}{CLOSE}" if is_trained else text for text, is_trained in texts)
