"""Bounds of memory hold what a model on a CPU really keeps."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from stages.models import memory
from stages.training import adapt

pytestmark = pytest.mark.model

KINDS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
TOKENS = 64


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


def kept(model, rows: int) -> int:
    """Return the bytes that autograd keeps of a forward pass, without weights."""
    own, held = {weight.untyped_storage().data_ptr() for weight in model.parameters()}, {}

    def count(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = (storage.nbytes(), tensor)  # keeps it, so that no address is used twice
        return tensor

    ids = torch.ones(rows, TOKENS, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits.float()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
    return sum(size for size, _ in held.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_bound_of_a_row_holds_what_training_keeps(kind, adapter, options):
    p = options("quantization=none", f"adapter={adapter}", "lora.r=4")
    model = adapt.attach(made(kind), p.adapter, p.lora, 1).train()
    row = kept(model, 3) - kept(model, 2)
    bound = memory.trained(model.config, TOKENS, precision="bf16", checkpointing=False)
    assert row <= bound <= 3 * row
    assert memory.trained(model.config, TOKENS, precision="bf16", checkpointing=True) < bound / 2
    assert memory.trained(model.config, TOKENS, precision="bf16", checkpointing=False, in_parts=True) < bound
