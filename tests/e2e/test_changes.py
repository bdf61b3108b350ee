"""After the smoke experiment: another rank, a sweep, and another clone, with real dvc."""

import csv
import io
import json

import pytest

from tests.fixtures.network import Blocker
from tests.fixtures.smoke import AFTER, SMOKE, Clone

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


def test_sweep_shows_each_value_and_diffs_name_the_change(smoked):
    smoked.commit("the run to compare with")
    queued = smoked.dvc(*SMOKE, "--queue", "-S", "report.resamples=100,300")  # only the report runs
    assert queued.status == 0, queued.text
    started = smoked.dvc("exp", "run", "--run-all", "--jobs", "1")
    assert started.status == 0, started.text
    shown = smoked.dvc("exp", "show", "--csv", "--no-pager")
    rows = [
        row for row in csv.DictReader(io.StringIO(shown.text[shown.text.index("Experiment,") :])) if row["State"] == "Success"
    ]
    assert sorted(row["report.resamples"] for row in rows) == ["100", "300"]
    assert all(row["tuned.json_valid"] != "" for row in rows)

    applied = smoked.dvc("exp", "apply", rows[0]["Experiment"])
    assert applied.status == 0, applied.text
    assert ["params.yaml", "report.resamples", "200", rows[0]["report.resamples"]] in [
        line.split() for line in smoked.dvc("params", "diff").text.splitlines()
    ]
    metrics = smoked.dvc("metrics", "diff", "--all")
    assert metrics.status == 0 and "tuned.json_valid" in metrics.text and "retention.tuned.bits_per_byte" in metrics.text
    plots = smoked.dvc("plots", "diff", "--out", "plots")
    assert plots.status == 0 and (smoked.root / "plots/index.html").is_file(), plots.text


def test_second_clone_restores_the_run_without_running(smoked, tmp_path):
    named = smoked.dvc(*SMOKE, "-S", "name=shared")  # reports/smoke alone is not in git
    assert (named.status, named.ran) == (0, {"validate", "report"}), named.text
    assert smoked.dvc("remote", "add", "--default", "store", str(tmp_path / "store")).status == 0
    smoked.commit("a run to share")
    pushed = smoked.dvc("push")
    assert pushed.status == 0, pushed.text

    smoked.git("clone", "--quiet", str(smoked.root), str(tmp_path / "second"))
    second = Clone(tmp_path / "second", tmp_path / "no-weights", Blocker(tmp_path / "second-blocker"))
    assert [path.name for path in (second.root / "models").iterdir()] == ["README.md"]
    pulled = second.dvc("pull")
    assert pulled.status == 0, pulled.text
    assert second.files("models/42/adapter") == smoked.files("models/42/adapter")
    again = second.dvc("repro")
    assert (again.status, again.ran) == (0, set()), again.text
    assert second.git("status", "--porcelain") == ""
    assert not (tmp_path / "no-weights").exists()
