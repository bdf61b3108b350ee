"""Evaluation leaves a 4-bit base unchanged."""

import pytest

from stages.models import loading, sources
from stages.training import adapt
from tests.fixtures.training import stirred

pytestmark = pytest.mark.model


def gradients(model, ids) -> dict[str, "object"]:
    import torch

    model.train()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, labels=ids).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("hidden", [32, 64])
def test_evaluation_keeps_the_gradients_of_a_4_bit_base(options, random_model, hidden):
    """bitsandbytes repacks 4-bit weights on a CPU at the first evaluation; no gradient passes through the repacked weights."""
    import torch

    p = options("quantization=nf4", "lora.r=4")
    weights = sources.ensure(sources.fetch(random_model.model_copy(update={"hidden_size": hidden})))
    base = loading.load_base(weights, "cpu", p.quantization, p.train.precision, p.train.attn_implementation)
    model = stirred(adapt.attach(base, p.adapter, p.lora, seed=1))
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
