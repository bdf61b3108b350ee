"""mT0-large without weights: the experiment mt0 trains 2,359,296 parameters."""

import pytest

from stages import params
from stages.params import compose
from stages.training import adapt

pytestmark = pytest.mark.model


def test_adapter_of_mt0_has_the_stated_size():
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(
        vocab_size=250_112,
        d_model=1024,
        d_kv=64,
        d_ff=2816,
        num_layers=24,
        num_decoder_layers=24,
        num_heads=16,
        feed_forward_proj="gated-gelu",
    )
    p = params.check(compose.composed("experiment=mt0"))
    assert (p.lora.r, p.lora.alpha, p.lora.dropout) == (8, 32, 0.1)
    with torch.device("meta"):
        model = adapt.attach(MT5ForConditionalGeneration(config), p.adapter, p.lora, seed=42)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == 2_359_296
