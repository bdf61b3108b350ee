"""A model in training answers from merged weights, and is left as it was."""

import pytest

from stages.models import loading
from stages.models.precision import autocast
from stages.training import adapt
from tests.fixtures.training import stirred

pytestmark = pytest.mark.model


@pytest.fixture
def model(options, weights):
    def make(*overrides: str):
        p = options(*overrides, "lora.r=4")
        base = loading.load_base(weights, "cpu", p.quantization, p.train.precision)
        return stirred(adapt.attach(base, p.adapter, p.lora, seed=1)).eval()

    return make


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_merged_weights_predict_the_same_up_to_bf16(model, quantization):
    import torch

    from stages.align.merged import merged
    from stages.training.kernels import fused

    tuned, ids = model(f"quantization={quantization}"), torch.arange(3, 60)[None]
    before = [(type(module), *vars(module)) for module in tuned.modules()]
    with torch.inference_mode(), autocast("cpu", "bf16"), fused(tuned, "bf16"):
        expected = tuned(input_ids=ids).logits
        with merged(tuned) as layers:
            assert layers == 14  # seven matrices in each of two layers
            given = tuned(input_ids=ids).logits
        assert torch.equal(tuned(input_ids=ids).logits, expected) and not torch.equal(given, expected)
    with torch.inference_mode(), autocast("cpu", "bf16"), tuned.disable_adapter():
        without = tuned(input_ids=ids).logits
    assert [(type(module), *vars(module)) for module in tuned.modules()] == before
    assert (given - expected).norm() < 0.05 * (expected - without).norm()


@pytest.mark.parametrize(
    ("override", "memory"), [("lora.use_dora=true", 10**12), ("train.precision=fp32", 10**12), ("quantization=none", 1000)]
)
def test_what_cannot_be_merged_is_left_alone(model, monkeypatch, tmp_path, override, memory):
    from stages import device
    from stages.align.merged import merged

    monkeypatch.setattr(device, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(str(memory))
    with merged(model(override)) as layers:
        assert layers == 0


def test_free_memory_decides_nothing(model, monkeypatch):
    from stages import device
    from stages.align.merged import merged

    monkeypatch.setattr(device, "free_memory", lambda _: 0)
    with merged(model("quantization=none")) as layers:
        assert layers == 14
