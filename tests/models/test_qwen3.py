"""Qwen3-0.6B without weights: the experiment complaints_zh trains 5,046,272 parameters."""

import pytest

from stages import params
from stages.params import compose
from stages.training import adapt

pytestmark = pytest.mark.model


def test_adapter_of_complaints_zh_has_the_stated_size():
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
        vocab_size=151_936,
        tie_word_embeddings=True,
    )
    p = params.check(compose.composed("experiment=complaints_zh"))
    with torch.device("meta"):
        model = adapt.attach(Qwen3ForCausalLM(config), p.adapter, p.lora, seed=42)
    assert p.quantization.type == "none"
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == 5_046_272
    assert sum(weight.numel() for weight in model.parameters()) == 601_096_192
