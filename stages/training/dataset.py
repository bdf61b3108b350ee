"""Convert chats to token ids and labels for the trainer; stages/text/chat.py renders every chat."""

from collections.abc import Iterable

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import pack_dataset

from stages.errors import DataError
from stages.records import Document, Example
from stages.text import chat


def tokenised(examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return rows of `input_ids` and `labels`, in order; rows that format kept although too long are cut to max_length."""
    return _rows(chat.truncated(sequence, max_length) for e in examples for sequence in chat.encode(tokenizer, e.messages))


def documents(texts: Iterable[Document], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return whole texts, each with an end token, in pieces of max_length tokens; all tokens but the first are supervised.

    A last piece of one token has nothing to supervise and is left out: alone in a batch it would make the loss 0/0.
    """
    if tokenizer.encoder_decoder:
        raise DataError(
            "pretrain.type = documents: an encoder-decoder model needs spans to fill in, not whole texts; use pretrain=none"
        )
    whole = [[*chat.text_ids(tokenizer, text.text), tokenizer.eos_token_id] for text in texts]
    pieces = [ids[start : start + max_length] for ids in whole for start in range(0, len(ids), max_length)]
    return _rows(chat.Encoded(piece, piece) for piece in pieces if len(piece) > 1)


def packed(rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return rows joined into sequences of at most max_length tokens; `seq_lengths` separates them in the attention."""
    if tokenizer.encoder_decoder:
        raise DataError("train.packing: an encoder-decoder model keeps prompts and answers separate; set it to false")
    return pack_dataset(rows, max_length, "bfd")


def _rows(sequences: Iterable[chat.Encoded]) -> Dataset:
    kept = list(sequences)
    return Dataset.from_dict({"input_ids": [s.input_ids for s in kept], "labels": [s.labels for s in kept]})


def figures(rows: Dataset) -> dict[str, int]:
    """Return the number of rows, of tokens without padding, and of supervised tokens."""
    return {
        "rows": len(rows),
        "tokens": sum(len(ids) for ids in rows["input_ids"]),
        "supervised_tokens": sum(label != chat.IGNORE for labels in rows["labels"] for label in labels),
    }
