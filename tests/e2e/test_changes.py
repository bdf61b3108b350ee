"""After the smoke experiment, with real dvc: another rank or beta runs only what depends on it."""

import json

import pytest

from tests.fixtures.smoke import AFTER, SMOKE

pytestmark = pytest.mark.e2e


def test_another_rank_runs_only_stages_from_training_on(warmed):
    before, answers = warmed.files("models/42/adapter"), warmed.files("data/predictions")
    changed = warmed.dvc(*SMOKE, "-S", "lora.r=4")
    assert changed.status == 0, changed.text
    evaluated = {"evaluate"} if warmed.files("data/predictions") != answers else set()
    tuned = {"predict_tuned", "predict_tuned_passage", "retention_tuned"}
    assert changed.ran == {"validate", "pretrain", "train", "report"} | tuned | AFTER | evaluated
    after = warmed.files("models/42/adapter")
    assert json.loads(after["adapter_config.json"])["r"] == 4
    assert len(after["adapter_model.safetensors"]) < len(before["adapter_model.safetensors"])


def test_another_beta_runs_only_align_and_what_follows(warmed):
    answers = warmed.files("data/predictions")
    changed = warmed.dvc(*SMOKE, "-S", "align.beta=0.5")
    assert changed.status == 0, changed.text
    evaluated = {"evaluate"} if warmed.files("data/predictions") != answers else set()
    assert changed.ran - {"predict_aligned", "retention_aligned"} == {"validate", "align", "report"} | evaluated
