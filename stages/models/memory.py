"""How much memory the tokens of a decoder take, as upper bounds from its shape; no GPU has confirmed them."""

from typing import Any

from transformers import PretrainedConfig

INNER = ("intermediate_size", "d_ff", "ffn_dim", "n_inner")  # names of the width inside a feed-forward layer


def cached(config: PretrainedConfig, size: int) -> int:
    """Return the bytes that the cache holds of one token of a row: keys and values, `size` bytes each, of every layer."""
    text, width = _decoder(config)
    held = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return int(2 * text.num_hidden_layers * held * width * size)


def decoded(config: PretrainedConfig, size: int) -> int:
    """Return the bytes of one token of a row while it is answered: the cache, and what one layer computes of its prompt."""
    text, _ = _decoder(config)
    return cached(config, size) + size * (6 * text.hidden_size + 3 * _inner(text))


def _decoder(config: PretrainedConfig) -> tuple[Any, int]:
    """Return the configuration of the text decoder, and the width of one of its heads."""
    text = config.get_text_config(decoder=True)
    return text, getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def _inner(text: Any) -> int:
    return next((width for name in INNER if (width := getattr(text, name, None))), 4 * text.hidden_size)
