"""The functions that shorten a training step compute what the libraries compute, and leave alone what is unusual."""

import pytest

from stages.models import loading
from stages.training import adapt, dataset
from tests.fixtures.training import stirred, worker_on

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("in_bf16")]


@pytest.fixture
def model(options, weights):
    """Return a function that makes a model with an adapter and trained-looking weights."""

    def make(*overrides: str, attention: str = "eager"):
        p = options(*overrides)
        base = loading.load_base(weights, "cpu", p.quantization, p.train.precision, attention=attention)
        return p, stirred(adapt.attach(base, p.adapter, p.lora, seed=1))

    return make


@pytest.mark.parametrize("quantization", ["none", "nf4", "fp4"])
def test_loss_and_gradients_equal_the_libraries_up_to_bf16(model, tokenizer, rows, tmp_path, quantization):
    import torch

    from stages.training.kernels import fused

    p, tuned = model(f"quantization={quantization}", "lora.r=4")
    worker = worker_on(p, tuned, tokenizer, dataset.tokenised(rows["train"], tokenizer, 2048), tmp_path)

    def gradients(batch) -> tuple[float, torch.Tensor]:
        tuned.zero_grad()
        loss = worker.compute_loss(tuned, dict(batch))
        loss.backward()
        return loss.item(), torch.cat([w.grad.flatten() for w in tuned.parameters() if w.grad is not None])

    for batch in worker.get_train_dataloader():
        loss, expected = gradients(batch)
        with fused(tuned, "bf16") as used:
            assert used == {"lora", "rotary", "attention"}
            mine, given = gradients(batch)
        assert mine == pytest.approx(loss, rel=2e-3)
        assert (given - expected).norm() < 0.03 * expected.norm() and given.norm() > 0


def test_everything_is_put_back(model):
    from transformers.models.llama import modeling_llama

    from stages.training.kernels import fused

    _, tuned = model("quantization=nf4")
    before, rotary = [(type(module), *vars(module)) for module in tuned.modules()], modeling_llama.apply_rotary_pos_emb
    with pytest.raises(ZeroDivisionError), fused(tuned, "bf16"):
        assert modeling_llama.apply_rotary_pos_emb is not rotary
        raise ZeroDivisionError
    assert [(type(module), *vars(module)) for module in tuned.modules()] == before
    assert modeling_llama.apply_rotary_pos_emb is rotary and tuned.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("overrides", "attention", "used"),
    [
        (["quantization=none", "train.precision=fp16"], "eager", set()),
        (["quantization=none", "train.precision=fp32"], "eager", {"lora", "rotary", "attention"}),
        (["quantization=none"], "sdpa", {"lora", "rotary"}),
        (["quantization=int8"], "eager", {"rotary", "attention"}),
        (["quantization=none", "lora.dropout=0.1"], "eager", {"rotary", "attention"}),
        (["quantization=none", "lora.use_dora=true"], "eager", {"rotary", "attention"}),
        (["quantization=none", "adapter=ia3"], "eager", {"rotary", "attention"}),
    ],
)
def test_what_is_unusual_keeps_the_libraries_code(model, overrides, attention, used):
    from stages.training.kernels import fused

    p, tuned = model(*overrides, attention=attention)
    with fused(tuned, p.train.precision) as found:
        assert found == used


@pytest.mark.parametrize(
    ("adapter", "quantization", "changes"),
    [
        ("full", "none", {}),
        ("selective", "none", {"adapter.trainable": ["*embed_tokens*", "*layers.1*"]}),
        ("ia3", "nf4", {}),
        ("ia3", "int8", {}),
        ("prefix_tuning", "none", {}),
        ("lora", "nf4", {"train.packing": True, "train.group_by_length": False}),
        ("lora", "none", {"train.gradient_checkpointing": True}),
        ("lora", "none", {"lora.bias": "none", "train.prompt_loss_weight": 0.1}),
    ],
)
def test_training_follows_the_libraries(chosen, trained, weights, monkeypatch, tmp_path, adapter, quantization, changes):
    """Queries and keys may be in fp32 under autocast, a cache may precede the tokens, and the forward may run twice."""
    from contextlib import nullcontext

    from stages.training import kernels

    p = chosen(adapter, quantization, {"train.learning_rate": 1e-3, **changes})
    _, mine = trained(p, weights, tmp_path / "mine")
    monkeypatch.setattr(kernels, "fused", lambda *_, **__: nullcontext())
    _, own = trained(p, weights, tmp_path / "own")
    assert [step.loss for step in mine.log] == pytest.approx([step.loss for step in own.log], rel=5e-3)
    assert [one.loss for one in mine.validation] == pytest.approx([one.loss for one in own.validation], rel=5e-3)


def test_row_that_sees_nothing_is_finite_in_bf16():
    import torch

    from stages.training.kernels import Attention

    q, k, v = (torch.randn(1, 2, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.zeros(1, 1, 3, 3)
    mask[..., 1, :] = torch.finfo(torch.float32).min
    with torch.autocast("cpu", torch.bfloat16):
        out = Attention.apply(q, k, v, mask, 0.5)
    assert out.isfinite().all() and out.dtype == torch.bfloat16
    out.sum().backward()
    assert all(each.grad.isfinite().all() and each.grad.dtype == each.dtype for each in (q, k, v))


def test_model_that_rotates_the_other_way_keeps_its_own_code():
    from types import SimpleNamespace

    from transformers.models.llama import modeling_llama
    from transformers.models.nanochat import modeling_nanochat

    from stages.training import kernels

    def found(module):
        return kernels._usual_rotary(type("Model", (SimpleNamespace,), {"__module__": module.__name__})())

    assert found(modeling_llama) is modeling_llama and found(modeling_nanochat) is None


def test_without_room_weights_stay_in_four_bits(model, monkeypatch):
    from stages.training import kernels

    _, tuned = model("quantization=nf4")
    monkeypatch.setattr(kernels, "free_memory", lambda _: 0)
    with kernels.fused(tuned, "bf16") as used:
        assert used == {"rotary", "attention"}


def test_weights_dequantized_in_each_pass_give_the_same(model):
    import torch

    from stages.training.kernels import FusedLora, fused

    _, tuned = model("quantization=nf4", "lora.r=4")
    ids = torch.arange(3, 60)[None]

    def gradients():
        tuned.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            tuned(input_ids=ids).logits.float().logsumexp(-1).sum().backward()
        return torch.cat([w.grad.flatten() for w in tuned.parameters() if w.grad is not None])

    with fused(tuned, "bf16"):
        kept = gradients()
        for layer in (module for module in tuned.modules() if isinstance(module, FusedLora)):
            layer.kept = None
        assert torch.equal(gradients(), kept) and kept.norm() > 0


def test_norm_as_one_kernel_equals_the_models():
    from contextlib import ExitStack

    import torch
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    from stages.training import kernels

    norm = Qwen3RMSNorm(16).bfloat16()
    norm.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    assert kernels._usual_norms(torch.nn.ModuleList([norm, Gemma3RMSNorm(16).bfloat16(), Qwen3RMSNorm(16)])) == [norm]
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()

    def outcome():
        out = norm(x)
        (back,) = torch.autograd.grad(out.square().sum(), x)
        return out.detach(), back

    expected = outcome()
    with ExitStack() as stack, torch.autocast("cpu", torch.bfloat16):
        kernels.change(stack, norm, kernels.FusedNorm)
        given = outcome()
    assert type(norm) is Qwen3RMSNorm
    for mine, theirs in zip(given, expected, strict=True):
        assert mine.dtype == theirs.dtype == torch.bfloat16
        assert (mine - theirs).norm() < 2**-6 * theirs.norm() > 0


@pytest.mark.parametrize("masked", [True, False])
def test_attention_with_shared_heads_equals_torch(masked):
    import torch

    from stages.training.kernels import Attention

    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, 6, 5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 2, 7, 8, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = torch.zeros(2, 1, 5, 7, dtype=torch.float64).masked_fill_(torch.ones(5, 7).triu(3).bool(), -1e30) if masked else None
    mine = Attention.apply(q, k, v, mask, 0.5)
    own = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.5, enable_gqa=True)
    torch.testing.assert_close(mine, own)
    weight = torch.randn(own.shape, generator=generator, dtype=torch.float64)
    for given, expected in zip(*(torch.autograd.grad((out * weight).sum(), (q, k, v)) for out in (mine, own)), strict=True):
        torch.testing.assert_close(given, expected)


def test_rotation_equals_transformers():
    import torch
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    from stages.training.kernels import rotate

    q, k = (torch.randn(2, heads, 5, 8, dtype=torch.float64, requires_grad=True) for heads in (4, 2))
    angles = torch.rand(2, 5, 4, dtype=torch.float64).repeat(1, 1, 2)
    mine, own = (function(q, k, angles.cos(), angles.sin()) for function in (rotate, apply_rotary_pos_emb))
    for given, expected in zip(mine, own, strict=True):
        torch.testing.assert_close(given, expected)
    sums = [(one.square().sum() + (other * 3).sin().sum()) for one, other in (mine, own)]
    for given, expected in zip(*(torch.autograd.grad(total, (q, k)) for total in sums), strict=True):
        torch.testing.assert_close(given, expected)
