"""Load the tokenizer of a model folder."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from stages.models import pretrained
from stages.text import chat


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a pad token and with what chat.py reads: `encoder_decoder` and the patterns `control`."""
    tokenizer = pretrained.tokenizer(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.encoder_decoder = pretrained.config(folder).is_encoder_decoder
    tokenizer.control = chat.control_patterns(tokenizer)
    return tokenizer
