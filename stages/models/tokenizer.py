"""Load the tokenizer of a model folder."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from stages.models import pretrained


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a pad token and with `encoder_decoder`, which chat.py reads to choose the layout."""
    tokenizer = pretrained.tokenizer(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.encoder_decoder = pretrained.config(folder).is_encoder_decoder
    return tokenizer
