"""Whole documents as rows for training."""

import pytest

from stages.errors import DataError
from stages.models import loading, sources
from stages.records import Document
from stages.training import dataset

pytestmark = pytest.mark.model


def test_piece_of_a_document_has_at_least_two_tokens(tokenizer):
    """A batch of only one such last piece would have a loss of 0/0."""
    texts = [Document(text="x" * length, kind="document", source="x") for length in (8, 9, 16)]
    rows = dataset.documents(texts, tokenizer, 8)
    assert [len(ids) for ids in rows["input_ids"]] == [8, 8, 2, 8, 8]


def test_all_tokens_of_documents_are_supervised(tokenizer):
    texts = [Document(text="abcdefg", kind="document", source="a"), Document(text="xyz", kind="document", source="b")]
    pieces = dataset.documents(texts, tokenizer, 5)
    assert [tokenizer.decode(ids) for ids in pieces["input_ids"]] == ["abcde", "fg<|im_end|>", "xyz<|im_end|>"]
    assert pieces["labels"] == pieces["input_ids"]


def test_encoder_decoder_model_refuses_documents(seq2seq):
    with pytest.raises(DataError, match=r"^pretrain\.type = documents: an encoder-decoder model"):
        dataset.documents([], loading.load_tokenizer(sources.ensure(seq2seq)), 5)
