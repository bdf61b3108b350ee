"""The benchmark for a GPU runs at toy size on a CPU; that of kills has pairs and an alignment."""

import subprocess
from pathlib import Path

import pytest

from stages import params
from stages.params import compose

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("shape", "method"), [("smollm2-135m", "qlora"), ("qwen3-0.6b", "lora")])
def test_toy_shapes_train_on_a_cpu(tmp_path, monkeypatch, shape, method):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "bench")
    import gpu

    gpu.store(shape, tmp_path, toy=True)
    ours, stock = (gpu.measure(trainer, method, shape, tmp_path, 2, 4, toy=True) for trainer in ("ours", "sft"))
    assert ours.gradient_norm == pytest.approx(stock.gradient_norm, rel=0.02)
    assert ours.loss == pytest.approx(stock.loss, rel=0.01)
    assert ours.tokens_per_second > 0


def test_a_trainer_that_cannot_run_is_a_line_with_its_error(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "bench")
    import gpu

    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nModuleNotFoundError: No module named 'unsloth' | x\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    shown = gpu.line("unsloth", "lora", "8b", str(tmp_path), 2, 4, toy=True)
    assert shown == "| 8b | lora | unsloth | `ModuleNotFoundError: No module named 'unsloth'   x` | | | |"


def test_killed_runs_make_pairs_and_align(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "bench")
    import kills

    p = params.check(compose.composed(*kills.SMOKE))
    assert (p.name, p.preference.wanted, p.align.method) == ("smoke", True, "dpo")
    assert {"models/42/adapter/*", "data/pairs/42/*", "models/42/aligned/*"} <= set(kills.COMPARED)
