"""LLaMA Pro (Wu et al. 2024, arXiv:2401.02415): add copies of decoder blocks and train only the copies.

A copy's output projections start at zero. It adds nothing to the residual stream, so the expanded model first answers as
the base does.
"""

from copy import deepcopy

import torch
from transformers import PreTrainedModel

from stages.errors import DataError


def expanded(base: PreTrainedModel, blocks: int) -> PreTrainedModel:
    """Return the base with a trainable fp32 copy of the last block after each of `blocks` equal groups of its blocks."""
    layers = getattr(base.get_decoder(), "layers", None)
    if layers is None or not hasattr(layers[0], "mlp") or not hasattr(layers[0].mlp, "down_proj"):
        raise DataError("adapter.type = llama_pro: the model has no blocks like Llama, Qwen or Gemma; use another adapter")
    if len(layers) % blocks:
        raise DataError(f"adapter.blocks = {blocks}: does not divide the model's {len(layers)} blocks into equal groups")
    base.requires_grad_(False)
    size, grown = len(layers) // blocks, []
    for index, layer in enumerate(layers, start=1):
        grown.append(layer)
        if index % size == 0:
            config = layer.self_attn.config  # one for all blocks, so that a choice of attention reaches the copy too
            copy = deepcopy(layer, {id(config): config}).float().requires_grad_(True)
            for projection in (copy.self_attn.o_proj, copy.mlp.down_proj):
                for weight in projection.parameters():
                    weight.data.zero_()
            grown.append(copy)
    for index, layer in enumerate(grown):
        layer.self_attn.layer_idx = index  # its position in the cache of keys and values
    base.get_decoder().layers = torch.nn.ModuleList(grown)
    base.config.num_hidden_layers = len(grown)
    if kinds := getattr(base.config, "layer_types", None):
        base.config.layer_types = [kind for i, kind in enumerate(kinds, 1) for kind in [kind] * (2 if i % size == 0 else 1)]
    return base
