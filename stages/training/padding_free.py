"""Batches without padding, for training on a GPU: the rows follow one another in one sequence and see only themselves.

torch's FlashAttention reads where each row begins (Dao 2023, arXiv 2307.08691, sections 3.1 and 3.3), so neither padding nor a
mask of tokens × tokens is computed.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask

from stages.errors import DataError
from stages.params import Fit

ATTENTION = "varlen"
KINDS = {"full_attention", "sliding_attention"}  # of layers; others, such as convolutions, would read across rows
UNUSUAL = ("softcap", "position_bias", "s_aux")  # what some models pass to attention, and this one does not know
CAPABILITY = (8, 0)  # Ampere: older GPUs have no FlashAttention


def serves(model: PreTrainedModel, options: Fit) -> bool:
    """Return whether the model is trained so: a decoder with usual attention, in bf16, on a GPU that has the kernel.

    Joined rows are one row: only the first would have a trained prompt, and NEFTune would scale its noise by their length.
    """
    if options.attn_implementation != "auto" or options.precision != "bf16" or options.neftune_noise_alpha:
        return False
    if model.device.type != "cuda" or torch.cuda.get_device_capability() < CAPABILITY:
        return False
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    prompted = hasattr(model, "peft_config") and model.active_peft_config.is_prompt_learning
    return not prompted and usual(base)


def usual(base: PreTrainedModel) -> bool:
    """Return whether the model attends by a plain softmax over all earlier tokens or a window of them."""
    config = base.config.get_text_config()
    if config.is_heterogeneous or getattr(config, "v_head_dim", None):  # heads of several widths
        return False
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    other = ("attention_dropout", "attn_pdrop", "attn_logit_softcapping", "is_encoder_decoder")
    return bool(
        base._supports_flash_attn
        and base._can_set_attn_implementation()
        and width % 8 == 0
        and width <= 256
        and KINDS.issuperset(getattr(config, "layer_types", None) or ())
        and not any(getattr(config, name, None) for name in other)
        and not any(hasattr(module, "sinks") for module in base.modules())
    )


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Return attention's output (1, tokens, heads, width), as transformers' attention functions do.

    `query` (1, heads, tokens, width), `key` and `value` (1, fewer heads, tokens, width); row i has the tokens from
    cu_seq_lens_q[i] up to cu_seq_lens_q[i + 1], and no row has more than `max_length_q`.
    """
    odd = [name for name in UNUSUAL if how.get(name) is not None] + ["dropout"] * bool(how.get("dropout"))
    if odd:
        raise DataError(f"train.attn_implementation = auto: this model's attention has {odd[0]}; set it to sdpa")
    q, k, v = (each[0].transpose(0, 1).to(torch.bfloat16) for each in (query, key, value))
    out = varlen_attn(
        q,
        k,
        v,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=((sliding_window or 0) - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out[None], None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, flash_attention_mask)
