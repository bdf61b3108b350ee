"""Load the tokenizer of a model folder."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a pad token and with `encoder_decoder`, which chat.py reads to choose the layout."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.encoder_decoder = AutoConfig.from_pretrained(folder, local_files_only=True).is_encoder_decoder
    return tokenizer
