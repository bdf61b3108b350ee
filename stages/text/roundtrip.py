"""Whether answers survive a tokenizer: encoded and decoded, as predictions are, they should be the same text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.records import Message
from stages.text import chat, comparing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Pair = tuple[str, str]  # an answer, and the text that the tokenizer gives back for it


def pairs(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], sequences: Sequence[chat.Encoded]) -> list[Pair]:
    """Return the trained answers of an encoded chat, each with the text that the tokenizer gives back.

    Answers that call tools or have thoughts are left out: a template writes more than their text.
    """
    turns = [turn for turn in messages if turn.role == "assistant" and turn.trained]
    given = (ids for sequence in sequences for ids in sequence.answers)
    return [
        (turn.content, decoded(tokenizer, ids))
        for turn, ids in zip(turns, given, strict=True)
        if not (turn.tool_calls or turn.reasoning)
    ]


def lost(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the answers that become other texts; white space does not count, nor does what scores ignore, such as quotes."""
    return [
        (answer, text)
        for answer, text in pairs
        if answer.split() != text.split() and comparing.verbatim(answer) != comparing.verbatim(text)
    ]


def loses_layout(pairs: Sequence[Pair]) -> bool:
    """Return whether an answer loses line ends or indentation, which scores ignore, but Python does not."""
    return any(answer != text and _indents(answer) != _indents(text) for answer, text in pairs)


def _indents(text: str) -> list[str]:
    """Return the white space at the beginning of each line that has words; the first line's is stripped as elsewhere."""
    return [line[: len(line) - len(line.lstrip())] for line in text.strip().splitlines() if line.strip()]


def decoded(tokenizer: "PreTrainedTokenizerBase", answer: Sequence[int]) -> str:
    """Return the tokens of an answer as the text of a prediction, without the end token."""
    return str(tokenizer.decode(answer[:-1], skip_special_tokens=True))


def losses(tokenizer: "PreTrainedTokenizerBase", count: int, first: Pair, rows: int) -> str:
    """Return how many answers are lost, the first of them, and whether the tokenizer or the chat template changes it."""
    answer, text = first
    plain = str(tokenizer.decode(chat.text_ids(tokenizer, answer), skip_special_tokens=True))
    what = "chat template" if plain.strip() == answer.strip() else "tokenizer"
    return f"the {what} cannot write {count} of {rows} answers, e.g. {answer[:60]!r} becomes {text[:60]!r}"
