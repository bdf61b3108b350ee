"""Rows joined without padding train as padded rows do; a reference stands in for the kernel, which only a GPU has."""

from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace

import pytest

from stages.errors import DataError
from stages.models import loading
from stages.training import adapt, dataset
from tests.fixtures.training import stirred, worker_on

pytestmark = pytest.mark.model


def reference(q, k, v, starts, _, longest, __, *, scale, window_size, enable_gqa):
    """Attend within each row as torch.nn.attention.varlen documents it."""
    import torch

    parts, (left, right) = [], window_size
    assert right == 0 and longest == max(b - a for a, b in pairwise(starts.tolist()))
    for a, b in pairwise(starts.tolist()):
        back = torch.arange(b - a)[:, None] - torch.arange(b - a)
        seen = (back >= 0) & ((back <= left) | (left < 0))
        heads = [each[a:b].transpose(0, 1)[None] for each in (q, k, v)]
        out = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=seen, scale=scale, enable_gqa=enable_gqa)
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def joined(monkeypatch):
    """Return a context in which every model is trained without padding, and optionally with the loss of a GPU.

    It yields the numbers of rows that attention has read at a time.
    """
    import torch

    from stages.training import padding_free
    from stages.training.trainer import DecoderTrainer

    sums = DecoderTrainer.sums

    def of_a_gpu(self, *args):
        self.args.use_cpu = False
        return sums(self, *args)

    @contextmanager
    def context(loss: str):
        seen: list[int] = []

        def counted(*args, **how):
            seen.append(len(args[3]) - 1)
            return reference(*args, **how)

        with monkeypatch.context() as patch:
            patch.setattr(padding_free, "serves", lambda *_: True)
            patch.setattr(padding_free, "varlen_attn", counted)
            if loss == "gpu":
                patch.setattr(DecoderTrainer, "sums", of_a_gpu)
            yield seen
        torch.use_deterministic_algorithms(False)

    return context


@pytest.mark.parametrize(
    ("changes", "loss"),
    [({}, "gpu"), ({"train.prompt_loss_weight": 0.1}, "cpu"), ({"train.gradient_checkpointing": True}, "gpu")],
)
def test_joined_rows_train_as_padded_ones(chosen, trained, weights, joined, tmp_path, changes, loss):
    p = chosen("lora", "nf4", {"train.learning_rate": 1e-3, "train.attn_implementation": "sdpa", **changes})
    _, padded = trained(p, weights, tmp_path / "padded")
    with joined(loss) as seen:
        _, mine = trained(p, weights, tmp_path / "joined")
    assert max(seen) == p.runtime.micro_batch_size > 1
    assert [step.loss for step in mine.log] == pytest.approx([step.loss for step in padded.log], rel=5e-3)
    assert [one.loss for one in mine.validation] == pytest.approx([one.loss for one in padded.validation], rel=5e-3)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_loss_of_a_gpu_equals_that_of_a_cpu(options, tokenizer, rows, weights, tmp_path, weight):
    import torch

    p = options("quantization=none", f"train.prompt_loss_weight={weight}")
    base = loading.load_base(weights, "cpu", None, p.train.precision, attention="eager")
    tuned = stirred(adapt.attach(base, p.adapter, p.lora, seed=1))
    worker = worker_on(p, tuned, tokenizer, dataset.tokenised(rows["train"], tokenizer, 2048), tmp_path)
    batch = next(iter(worker.get_train_dataloader()))

    def loss_and_gradient():
        tuned.zero_grad()
        loss = worker.compute_loss(tuned.train(), dict(batch))
        loss.backward()
        return loss.item(), torch.cat([w.grad.flatten() for w in tuned.parameters() if w.grad is not None])

    loss, expected = loss_and_gradient()
    worker.args.use_cpu = False
    mine, given = loss_and_gradient()
    assert mine == pytest.approx(loss, rel=2e-3) and (given - expected).norm() < 0.03 * expected.norm()


def test_window_counts_the_token_itself(monkeypatch):
    import torch

    from stages.training import padding_free

    monkeypatch.setattr(padding_free, "varlen_attn", reference)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 9, 8, generator=draw) for heads in (4, 2, 2))
    starts = torch.tensor([0, 4, 9], dtype=torch.int32)

    def out(window):
        how = {"cu_seq_lens_q": starts, "max_length_q": 5, "sliding_window": window}
        return padding_free.attention(None, q, k, v, None, **how)[0]

    assert out(None).shape == (1, 9, 4, 8) and torch.equal(out(5), out(None)) and not torch.equal(out(4), out(None))
    assert torch.allclose(out(1)[0], v[0].transpose(0, 1).repeat_interleave(2, dim=1).bfloat16())
    for odd in ({"softcap": 30.0}, {"dropout": 0.1}):
        with pytest.raises(DataError, match=rf"attention has {next(iter(odd))}; set it to sdpa"):
            padding_free.attention(None, q, k, v, None, cu_seq_lens_q=starts, max_length_q=5, **odd)


@pytest.mark.parametrize(
    ("changes", "usual"),
    [
        ({}, True),
        ({"layer_types": ["full_attention", "sliding_attention"]}, True),
        ({"layer_types": ["full_attention", "conv"]}, False),
        ({"attention_dropout": 0.1}, False),
        ({"attn_logit_softcapping": 50.0}, False),
        ({"head_dim": 36}, False),
        ({"head_dim": 512}, False),
        ({"v_head_dim": 64}, False),
        ({"is_heterogeneous": True}, False),
    ],
)
def test_unusual_attention_keeps_its_padding(changes, usual):
    from stages.training import padding_free

    config = SimpleNamespace(**{"hidden_size": 64, "num_attention_heads": 4, "is_heterogeneous": False, **changes})
    config.get_text_config = lambda: config
    base = SimpleNamespace(config=config, _supports_flash_attn=True, modules=list, _can_set_attn_implementation=lambda: True)
    assert padding_free.usual(base) is usual
    base._can_set_attn_implementation = lambda: False
    assert not padding_free.usual(base)


def test_only_a_new_gpu_and_bf16_go_without_padding(weights, options, monkeypatch):
    import torch

    from stages.training import padding_free

    base = loading.load_base(weights, "cpu", None, "bf16")
    assert padding_free.usual(base) and not padding_free.serves(base, options().train)
    monkeypatch.setattr(type(base), "device", torch.device("cuda"))
    for capability, override, served in (
        ((9, 0), "train.precision=bf16", True),
        ((7, 5), "train.precision=bf16", False),
        ((9, 0), "train.precision=fp32", False),
        ((9, 0), "train.attn_implementation=sdpa", False),
        ((9, 0), "train.neftune_noise_alpha=5", False),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert padding_free.serves(base, options(override).train) is served
