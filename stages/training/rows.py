"""Read the rows that weights are fitted to: formatted chats in `train`, whole documents in `pretrain`."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from stages import records
from stages.errors import DataError
from stages.records import Document, Example
from stages.training import dataset
from stages.training.run import Rows

CHATS = [Path("data/formatted/train.jsonl"), Path("data/formatted/valid.jsonl")]
DOCUMENTS = Path("data/raw/documents.jsonl")
APART = 20  # one document of this many is for validation


def chats(tokenizer: PreTrainedTokenizerBase, max_length: int, packing: bool) -> Rows:
    """Return the chats of the splits for training and validation."""
    splits = [list(records.read(path, Example)) for path in CHATS]
    if not 500 <= len(splits[0]) <= 5000:
        print(f"advice: {len(splits[0])} training rows; 500 to 5,000 clean rows are usually advised")
    train, valid = (dataset.tokenised(examples, tokenizer, max_length) for examples in splits)
    return Rows(dataset.packed(train, tokenizer, max_length) if packing else train, valid)


def documents(tokenizer: PreTrainedTokenizerBase, max_length: int, packing: bool) -> Rows:
    """Return the documents in pieces; every twentieth document is for validation."""
    texts = list(records.read(DOCUMENTS, Document))
    if not texts:
        raise DataError(f"{DOCUMENTS}: empty, but pretrain.type = documents; choose data that has documents, or pretrain=none")
    kept = [text for place, text in enumerate(texts, start=1) if place % APART]
    train, valid = (dataset.documents(part, tokenizer, max_length) for part in (kept, texts[APART - 1 :: APART]))
    return Rows(dataset.packed(train, tokenizer, max_length) if packing else train, valid)
