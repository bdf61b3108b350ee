"""predict_kept: a kept adapter answers the split as the tuned model does, and is scored as a system of its own."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from stages import records
from stages.commands import compose as command
from stages.errors import DataError
from stages.evaluate import __main__ as evaluate
from stages.kept import __main__ as stage
from stages.params import PARAMS, compose
from stages.predict import __main__ as predict
from stages.records import Prediction, Score
from stages.validate.__main__ import _require_kept

pytestmark = pytest.mark.model


def answered(system: str) -> list[Prediction]:
    return list(records.read(Path(f"data/predictions/{system}.jsonl"), Prediction))


def test_kept_adapter_answers_and_is_scored_like_the_tuned_one(room, adapter, rows, monkeypatch):
    settings = ("predict.shots=[0]", "predict.agreement_rows=0")
    monkeypatch.chdir(room("quantization=none", *settings))
    for folder in ("models/42/adapter", "adapters/one-shot"):
        shutil.copytree(adapter, folder)
    records.write(Path("data/formatted/test.jsonl"), rows["valid"][:2])
    for module, name in ((predict, "base_0shot"), (predict, "tuned_42"), (stage, "one-shot")):
        monkeypatch.setattr(sys, "argv", ["predict", name])
        module.main()
    kept, tuned = answered("kept_one-shot"), answered("tuned_42")
    assert [(row.system, row.text) for row in kept] == [("kept_one-shot", row.text) for row in tuned]
    assert [row.reference_logprob for row in kept] == [row.reference_logprob for row in tuned]
    assert json.loads(Path("data/cost/predict_kept_one-shot.json").read_text(encoding="utf-8"))["memory_peak_gib"] > 0
    compose.compose(["experiment=smoke", "quantization=none", *settings, "predict.kept=[one-shot]"], PARAMS)
    evaluate.main()
    scores = {(score.system, score.example): score.scores for score in records.read(Path("data/scores.jsonl"), Score)}
    assert all(scores["kept_one-shot", row.example] == scores["tuned_42", row.example] for row in kept)


def test_missing_or_unfit_kept_adapter_is_refused(room, adapter, monkeypatch):
    monkeypatch.chdir(room())
    with pytest.raises(DataError, match=r"^predict\.kept: adapters/mine: no such folder; store one with `tunetrail keep NAME`"):
        command.compose(["experiment=smoke", "predict.kept=[mine]"], check=False)
    Path("adapters/mine").mkdir(parents=True)
    with pytest.raises(DataError, match=r"^predict\.kept\[0\] = mine: adapters/mine is neither an adapter nor a model"):
        _require_kept(["mine"])
    shutil.copytree(adapter, "adapters/scorer")
    Path("adapters/scorer/reward_model.json").touch()
    with pytest.raises(DataError, match=r"^predict\.kept\[1\] = scorer: adapters/scorer is a reward model"):
        shutil.copytree(adapter, "adapters/mine", dirs_exist_ok=True)
        _require_kept(["mine", "scorer"])
