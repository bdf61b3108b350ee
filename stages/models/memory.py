"""How much memory the tokens of a decoder take, as upper bounds from its shape.

On an H200, training with LoRA took a quarter to two fifths of the bound (docs/performance-gpu.md).
"""

from typing import Any

from transformers import PretrainedConfig

PART = 2**15  # entries of the vocabulary whose logits TRL's function holds at a time
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


def trained(config: PretrainedConfig, tokens: int, *, precision: str, checkpointing: bool, in_parts: bool = False) -> int:
    """Return the bytes that a row of `tokens` keeps from its forward pass, and those of its logits.

    Per token and layer in bf16: four fp32 and four bf16 copies of the state around its two norms, twelve tensors as wide as
    all heads, five as wide as the feed-forward layer; eager attention adds the scores (after Korthikanti et al. 2022,
    arXiv 2205.05198, with gated layers). Logits are counted at every token, in bf16 and fp32 with their gradients;
    `in_parts` counts those of a part of the vocabulary, in bf16 with gradients (stages/training/trainer.py). In fp32 everything
    counts twice. Checkpointing keeps the state before each layer, and the tensors of one layer.
    """
    text, width = _decoder(config)
    heads = text.num_attention_heads
    layer = 24 * text.hidden_size + 24 * heads * width + 10 * _inner(text)
    if config._attn_implementation == "eager":
        layer += 10 * heads * tokens
    layers = text.num_hidden_layers + (getattr(text, "num_decoder_layers", 0) if config.is_encoder_decoder else 0)
    kept = layers * 2 * text.hidden_size + layer if checkpointing else layers * layer
    logits = 8 * min(text.vocab_size, PART) if in_parts else 16 * text.vocab_size
    return int(tokens * (kept + logits) * (2 if precision == "fp32" else 1))


def _decoder(config: PretrainedConfig) -> tuple[Any, int]:
    """Return the configuration of the text decoder, and the width of one of its heads."""
    text = config.get_text_config(decoder=True)
    return text, getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def _inner(text: Any) -> int:
    return next((width for name in INNER if (width := getattr(text, name, None))), 4 * text.hidden_size)
