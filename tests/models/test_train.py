"""Training on the tiny model: what a 4-bit base must not change under validation and saving."""

import pytest

from stages import models
from stages.train import adapt

pytestmark = pytest.mark.model


def gradients(model, ids) -> dict[str, "object"]:
    import torch

    model.train()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, labels=ids).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("hidden", [32, 64])
def test_validation_and_saving_leave_the_gradients_of_a_4_bit_base_as_they_were(options, random_model, hidden):
    """bitsandbytes repacks 4-bit weights on a CPU at the first evaluation; the repacked ones pass no gradient on."""
    import torch

    p = options("quantization=nf4", "lora.r=4")
    weights = models.ensure(models.fetch(random_model.model_copy(update={"hidden_size": hidden})))
    base = models.load_base(weights, "cpu", p.quantization, p.train.precision, p.train.attn_implementation)
    model = adapt.attach(base, p.adapter, p.lora, seed=1)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.02, generator=generator)
    ids = torch.arange(3, 40)[None]
    before = gradients(model, ids)
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    validated = gradients(model, ids)
    model.state_dict()
    saved = gradients(model, ids)
    assert before.keys() == validated.keys() == saved.keys()
    for name, gradient in before.items():
        assert gradient.abs().sum() > 0, name
        assert torch.equal(gradient, validated[name]) and torch.equal(gradient, saved[name]), name
