"""fp16: scaled gradients, updates that overflow, resumed runs; and a run whose loss is not finite."""

import math

import pytest
import torch
from transformers import Trainer

from stages.errors import DataError
from stages.training.trainer import ResponseLoss

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("in_bf16")]

FOUR = {"train.max_steps": 4, "train.save_steps": 2, "train.learning_rate": 0.01, "train.group_by_length": False}


def losses(result) -> list[float]:
    return [entry.loss for entry in result.log]


def adapter(model) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_fp16_learns_as_fp32_does(chosen, trained, weights, tmp_path, quantization):
    half, whole = (
        trained(chosen("lora", quantization, {**FOUR, "train.precision": precision}), weights, tmp_path / precision)
        for precision in ("fp16", "fp32")
    )
    assert losses(half[1]) == pytest.approx(losses(whole[1]), rel=1e-2)
    assert losses(half[1]) != losses(whole[1])
    assert {weight.dtype for weight in adapter(half[0]).values()} == {torch.float32}
    assert any(weight.any() for name, weight in adapter(half[0]).items() if "lora_B" in name)


def test_update_that_overflows_is_left_out(chosen, trained, weights, tmp_path, monkeypatch):
    """The first scale, 65,536, is too large for this loss: its gradients are infinite until the scale has been halved."""
    compute, scales = ResponseLoss.compute_loss, []

    def large(self, *arguments, **named):
        scales.append(self.accelerator.scaler.get_scale())
        return compute(self, *arguments, **named) * 1e36

    monkeypatch.setattr(ResponseLoss, "compute_loss", large)
    p = chosen("lora", "none", {**FOUR, "train.precision": "fp16", "train.eval_steps": 99, "train.batch_size": 2})
    model, result = trained(p, weights, tmp_path / "overflow")
    assert scales[:4] == [65536.0, 32768.0, 16384.0, 8192.0]
    assert not any(weight.any() for name, weight in adapter(model).items() if "lora_B" in name)
    assert all(torch.isfinite(weight).all() for weight in adapter(model).values())
    assert {entry.learning_rate for entry in result.log} == {0.01}  # nor does the schedule move on


def test_fp16_run_resumes_with_the_same_weights(chosen, trained, weights, tmp_path, monkeypatch):
    p = chosen("lora", "none", {**FOUR, "train.precision": "fp16", "lora.dropout": 0.1})
    step = Trainer.training_step

    def killed(self, *arguments, **named):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    whole, _ = trained(p, weights, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "training_step", killed)
        trained(p, weights, tmp_path / "killed")
    assert (tmp_path / "killed/checkpoint-2/scaler.pt").is_file()
    again, result = trained(p, weights, tmp_path / "killed")
    assert result.resumed_at_step == 2
    expected = adapter(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in adapter(again).items())


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_processor_that_is_slow_in_bf16_trains_in_fp32(chosen, trained, weights, tmp_path, monkeypatch, quantization):
    from stages import device

    monkeypatch.setattr(device, "multiplies", lambda precision: precision == "fp32")
    asked, whole = (
        trained(chosen("lora", quantization, {**FOUR, "train.precision": precision}), weights, tmp_path / precision)
        for precision in ("bf16", "fp32")
    )
    assert losses(asked[1]) == pytest.approx(losses(whole[1]), rel=1e-4)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_loss_that_is_not_finite_ends_the_run(chosen, trained, weights, tmp_path, monkeypatch, wrong):
    compute = ResponseLoss.compute_loss

    def diverging(self, *arguments, **named):
        loss = compute(self, *arguments, **named)
        return loss * wrong if self.state.global_step == 2 else loss

    monkeypatch.setattr(ResponseLoss, "compute_loss", diverging)
    with pytest.raises(DataError) as error:
        trained(chosen("lora", "none", {**FOUR, "train.eval_steps": 99}), weights, tmp_path / "diverged")
    line = str(error.value)
    assert line.startswith(f"train: the loss is {wrong} at step 3, so training has diverged and no model is stored; lower ")
    assert "train.learning_rate = 0.01" in line
