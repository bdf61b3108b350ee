"""Options of a run: early stopping, NEFTune and trackers."""

import pytest
from safetensors.torch import load_file

from stages.errors import DataError
from stages.training import trainer
from tests.fixtures.training import output_of, weights_of

pytestmark = pytest.mark.model


def test_early_stopping_stops_and_keeps_the_best_checkpoint(chosen, trained, weights, tmp_path):
    import torch

    every = {"train.eval_steps": 1, "train.save_steps": 1, "train.max_steps": 30, "train.learning_rate": 0.9}
    model, run = trained(chosen("lora", changes={**every, "train.early_stopping_patience": 2}), weights, tmp_path)
    losses = {entry.step: entry.loss for entry in run.validation}
    best = min(losses, key=losses.__getitem__)
    assert run.steps == best + 2 < 30
    stored = load_file(tmp_path / f"checkpoint-{best}" / trainer.TRAINED)
    assert all(torch.equal(weight, stored[name]) for name, weight in weights_of(model).items())


def test_neftune_adds_noise_only_in_training(chosen, trained, weights, tmp_path):
    import torch

    plain, _ = trained(chosen("lora"), weights, tmp_path / "a")
    noisy, _ = trained(chosen("lora", changes={"train.neftune_noise_alpha": 5.0}), weights, tmp_path / "b")
    assert any(not torch.equal(weight, weights_of(noisy)[name]) for name, weight in weights_of(plain).items())
    noisy.train()
    assert torch.equal(output_of(noisy), output_of(noisy))


def test_unknown_or_missing_tracker_is_refused(chosen, trained, weights, monkeypatch):
    from transformers.integrations import integration_utils

    with pytest.raises(DataError, match=r"train.report_to = nope: unknown; choose from none, .*tensorboard"):
        trained(chosen("lora", changes={"train.report_to": "nope"}), weights)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", list)
    with pytest.raises(DataError, match=r"train.report_to = swanlab: not installed; pip install -e '\.\[trackers\]'"):
        trained(chosen("lora", changes={"train.report_to": "swanlab"}), weights)


@pytest.mark.parametrize("tracker", ["tensorboard", "swanlab"])
def test_tracker_writes_locally_without_a_network(tracker, chosen, trained, weights, tmp_path, monkeypatch):
    pytest.importorskip(tracker)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("TENSORBOARD_LOGGING_DIR", "SWANLAB_LOG_DIR", "SWANLAB_MODE"):  # training sets them once per process
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with monkeypatch.context() as patch:
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        trained(chosen("lora", changes={"train.report_to": tracker}), weights, tmp_path / "run")
    assert [path for path in (tmp_path / ".tunetrail/logs" / tracker / "run").rglob("*") if path.is_file()]
