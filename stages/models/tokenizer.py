"""Load the tokenizer of a model folder."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from stages.errors import DataError
from stages.models import pretrained
from stages.text import chat, control


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer with an end and a pad token, and with what belongs to its model.

    stages/text/ reads `encoder_decoder`, `normalizer`, `unknown` (the id of what stands for text that it cannot write) and the
    patterns in `control`, the audit `positions` and `embeddings`: how long a text (None: any) and how many different tokens
    the model can read.
    """
    tokenizer = pretrained.tokenizer(folder)
    tokenizer.chat_template = _template(tokenizer)
    config = pretrained.config(folder)
    tokenizer.encoder_decoder = config.is_encoder_decoder
    text = config.get_text_config(decoder=True)
    positions = getattr(text, "max_position_embeddings", None)
    tokenizer.positions = positions if positions and positions > 0 else None  # XLNet has -1
    tokenizer.embeddings = getattr(text, "vocab_size", None)
    tokenizer.normalizer = _normalizer(tokenizer)
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)  # GPT-2's <unk> is its end
    tokenizer.unknown = None if tokenizer.unk_token_id in others else tokenizer.unk_token_id
    tokenizer.control = control.patterns(tokenizer)
    if tokenizer.eos_token is None:  # then a text ends as an answer in the chat template does
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(chat.stop_ids(tokenizer)[0])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the chat template, of several the one named `default`; raise DataError if none is."""
    templates = tokenizer.chat_template
    if not isinstance(templates, dict):
        return templates
    if "default" not in templates:
        raise DataError(
            f"{tokenizer.name_or_path}: none of its chat templates ({', '.join(sorted(templates))}) is called default; name "
            "one in model.chat_template"
        )
    return str(templates["default"])


def _normalizer(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return what rewrites texts before added tokens are looked for in them; None if it applies to no added token."""
    normalizes = any(token.normalized for token in tokenizer.added_tokens_decoder.values())
    return tokenizer.backend_tokenizer.normalizer if normalizes and tokenizer.is_fast else None
