"""Load the tokenizer of a model folder."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from stages.models import pretrained
from stages.text import chat


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a pad token and what chat.py reads: `encoder_decoder`, `normalizer`, patterns in `control`."""
    tokenizer = pretrained.tokenizer(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.encoder_decoder = pretrained.config(folder).is_encoder_decoder
    tokenizer.normalizer = _normalizer(tokenizer)
    tokenizer.control = chat.control_patterns(tokenizer)
    return tokenizer


def _normalizer(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return what rewrites texts before added tokens are looked for in them; None if it applies to no added token."""
    normalizes = any(token.normalized for token in tokenizer.added_tokens_decoder.values())
    return tokenizer.backend_tokenizer.normalizer if normalizes and tokenizer.is_fast else None
