"""Rows of a forward pass where runtime.micro_batch_size is auto; a GPU is only pretended."""

import pytest
from datasets import Dataset

from stages import device
from stages.models import loading, memory
from stages.training import adapt, micro_batches

pytestmark = pytest.mark.model

ROWS = Dataset.from_dict({"input_ids": [[5] * 7, [5] * 40], "labels": [[5] * 7, [5] * 40]})


@pytest.mark.parametrize(("batch", "rows"), [(16, 4), (9, 3), (7, 1), (2, 2)])
def test_auto_on_a_cpu_is_at_most_four(options, weights, batch, rows):
    p = options(f"train.batch_size={batch}", "runtime.micro_batch_size=auto")
    given = micro_batches.resolved(p.runtime, p.train, loading.load_base(weights, "cpu"), ROWS)
    assert given.micro_batch_size == p.runtime.rows(batch) == rows


@pytest.mark.parametrize(("fit", "rows"), [(0, 1), (3.5, 3), (11, 6), (10**6, 12)])
def test_auto_on_a_gpu_is_the_largest_divisor_that_fits(options, weights, monkeypatch, capsys, fit, rows):
    p = options("train.batch_size=12", "runtime.micro_batch_size=auto", "runtime.device=cuda", "quantization=none")
    model = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    longest = memory.trained(model.config, 40, precision="bf16", checkpointing=False, in_parts=True)
    free = (fit * longest + micro_batches.OPTIMIZER * trained) / micro_batches.SHARE
    monkeypatch.setattr(device, "free_memory", lambda _: int(free) + 1)
    assert micro_batches.resolved(p.runtime, p.train, model, ROWS).micro_batch_size == rows
    assert capsys.readouterr().out.startswith(f"runtime.micro_batch_size = auto: {rows} of train.batch_size = 12 rows")


def test_a_given_number_is_kept(options, weights):
    p = options("train.batch_size=12", "runtime.micro_batch_size=6")
    assert micro_batches.resolved(p.runtime, p.train, loading.load_base(weights, "cpu"), ROWS) is p.runtime
