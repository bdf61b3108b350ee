"""Chats become token ids and labels for the trainer, through the one rendering of stages/chat.py."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stages import chat
from stages.records import Example

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def tokenised(examples: Iterable[Example], tokenizer: "PreTrainedTokenizerBase", max_length: int) -> "Dataset":
    """Arrow rows of `input_ids` and `labels`, in order; what format let through too long is cut to max_length tokens."""
    from datasets import Dataset

    sequences = [
        chat.truncated(sequence, max_length) for example in examples for sequence in chat.encode(tokenizer, example.messages)
    ]
    return Dataset.from_dict({"input_ids": [s.input_ids for s in sequences], "labels": [s.labels for s in sequences]})


def figures(rows: "Dataset") -> dict[str, Any]:
    """Rows, tokens without padding, and tokens that are trained on."""
    return {
        "rows": len(rows),
        "tokens": sum(len(ids) for ids in rows["input_ids"]),
        "supervised_tokens": sum(label != chat.IGNORE for labels in rows["labels"] for label in labels),
    }
