"""Tell the thoughts of a model from its answer, as its chat template separates them."""

from typing import TYPE_CHECKING, NamedTuple

from stages.records import Message
from stages.text import chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THOUGHT, ANSWER = "Marker7", "Marker8"


class Marks(NamedTuple):
    """What a model writes before and after its thoughts, e.g. <think> and </think>; the first may be empty, in the prompt."""

    opening: str
    closing: str


def marks(tokenizer: "PreTrainedTokenizerBase") -> Marks:
    """Return the marks of a template that writes thoughts, as they are in the text of a prediction."""
    probe = [Message(role="user", content="x"), Message(role="assistant", content=ANSWER, reasoning=THOUGHT)]
    text = str(tokenizer.decode(chat.answer_ids(tokenizer, probe)[:-1], skip_special_tokens=True))
    opening, _, rest = text.partition(THOUGHT)
    return Marks(opening.strip(), rest.partition(ANSWER)[0].strip())


def separated(text: str, marks: Marks) -> tuple[str, str]:
    """Return the thoughts with their marks and the answer, which is empty if the thoughts do not end."""
    if marks.closing and marks.closing in text:
        answer = text.rpartition(marks.closing)[2].lstrip()
    else:
        answer = "" if marks.closing and text.startswith(marks.opening) else text
    return text[: len(text) - len(answer)], answer
