"""A processor without fast products in 16 bits computes in fp32, with the same weights."""

import pytest

from stages.models import loading
from stages.models.tuned import load_tuned
from stages.params import Quantization
from tests.fixtures.training import stirred

pytestmark = pytest.mark.model

NF4 = Quantization(type="nf4", double_quant=True)


@pytest.fixture
def slow(monkeypatch):
    """Return a function that makes this processor slow in 16 bits, or fast."""
    from stages import device

    def make(is_slow: bool = True) -> None:
        monkeypatch.setattr(device, "multiplies", lambda precision: precision == "fp32" or not is_slow)

    return make


def logits(model):
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 60)[None]).logits.float()


def test_only_a_processor_computes_in_another_precision(slow):
    from stages import device

    slow()
    asked = [("cpu", "bf16"), ("cpu", "fp16"), ("cpu", "fp32"), ("cuda:0", "bf16"), ("cuda", "fp16")]
    assert [device.computed(*each) for each in asked] == ["fp32", "fp32", "fp32", "bf16", "fp16"]
    slow(False)
    assert [device.computed(*each) for each in asked] == [precision for _, precision in asked]


def test_machine_names_what_it_computes_in(slow, options):
    from stages import provenance

    runtime = options().runtime
    slow()
    assert provenance.machine(runtime).computes_in == "fp32"
    slow(False)
    assert provenance.machine(runtime).computes_in is None


@pytest.mark.parametrize("quantization", [None, NF4], ids=["none", "nf4"])
def test_weights_are_the_same_numbers_in_fp32(slow, weights, quantization):
    import torch

    slow(False)
    usual = loading.load_base(weights, "cpu", quantization)
    slow()
    wide = loading.load_base(weights, "cpu", quantization)
    assert (usual.dtype, wide.dtype) == (torch.bfloat16, torch.float32)
    assert all(torch.equal(a.float(), b.float()) for a, b in zip(usual.parameters(), wide.parameters(), strict=True))
    exact, rounded = logits(wide), logits(usual)
    assert not torch.equal(exact, rounded) and (exact - rounded).norm() < 0.02 * exact.norm()
    if quantization:
        assert {layer.compute_dtype for layer in wide.modules() if hasattr(layer, "compute_dtype")} == {torch.float32}


def test_merged_weights_are_rounded_as_elsewhere(slow, weights, adapter):
    import torch

    slow(False)
    usual = load_tuned(weights, adapter, "cpu")
    slow()
    wide = load_tuned(weights, adapter, "cpu")
    assert wide.dtype == torch.float32
    assert all(torch.equal(a.float(), b) for a, b in zip(usual.parameters(), wide.parameters(), strict=True))


@pytest.mark.parametrize(("quantization", "rounding"), [("none", 1e-6), ("nf4", 2e-3)])
def test_fused_kernels_compute_the_same_in_fp32(slow, options, weights, quantization, rounding):
    """Only they round the values of 4 bits to bf16, as they do everywhere."""

    from stages.training import adapt
    from stages.training.kernels import fused

    slow()
    p = options(f"quantization={quantization}", "lora.r=4")
    model = stirred(adapt.attach(loading.load_base(weights, "cpu", p.quantization, attention="eager"), p.adapter, p.lora, 1))
    expected = logits(model)
    with fused(model, "bf16") as used:
        assert used == {"lora", "rotary", "attention"}
        assert (logits(model) - expected).norm() < rounding * expected.norm()
