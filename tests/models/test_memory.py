"""Bounds of memory hold what a model on a CPU really keeps."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from stages.models import memory

pytestmark = pytest.mark.model

KINDS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def made(kind: str):
    config, model = KINDS[kind]
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 32, "vocab_size": 500, "tie_word_embeddings": True}
    return model(config(**sizes, attn_implementation="sdpa")).to(torch.bfloat16)


@pytest.mark.parametrize("kind", KINDS)
def test_cached_bytes_are_those_of_a_cache(kind):
    model, cache = made(kind), DynamicCache()
    model(input_ids=torch.ones(1, 9, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert memory.cached(model.config, 2) * 9 == held
