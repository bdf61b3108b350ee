"""The real pipeline on a tiny model, with real dvc in a clone of this repository: what runs, what is skipped or refused.

One clone runs the smoke experiment. Every test that changes something works in its own copy of it.
"""

import json
import shutil

import pytest

from tests.fixtures.smoke import SMOKE, STAGES

pytestmark = pytest.mark.e2e


def test_smoke_runs_every_stage_and_reports_all_systems(clone, first):
    assert first.status == 0, first.text
    assert first.ran == STAGES
    metrics = clone.json("reports/smoke/details.json")
    for system in ("base_0shot", "base_1shot", "tuned", "aligned"):
        assert metrics[system]["n"] == 12
        assert 0 <= metrics[system]["json_valid_lo"] <= metrics[system]["json_valid"] <= metrics[system]["json_valid_hi"] <= 1
    made = clone.files("reports/smoke")
    assert {"cost.json", "index.html", "items.jsonl", "metrics.json", "report.md"} <= set(made)
    assert len(made["items.jsonl"].splitlines()) == 12
    assert b"<html" in made["index.html"]
    assert metrics["pairs"]["pairs"] > metrics["pairs"]["held_out"] > 0
    adapters = {kind: clone.files(f"models/42/{kind}")["adapter_model.safetensors"] for kind in ("adapter", "aligned")}
    assert adapters["adapter"] != adapters["aligned"]
    answer = json.loads((clone.root / "data/predictions/aligned_42.jsonl").read_text(encoding="utf-8").splitlines()[0])
    traced = clone.tunetrail("trace", answer["id"])
    assert traced.status == 0, traced.text
    assert all(part in traced.text for part in (" pairs for aligned_42", "  pair-", "  sample-", "  task-"))


def test_smoke_experiment_asks_no_other_machine(clone, first):
    assert first.status == 0, first.text
    assert clone.blocker.attempts() == []


def test_second_run_runs_nothing_even_at_another_path(smoked):
    before = smoked.files("reports/smoke")
    again = smoked.dvc(*SMOKE)
    assert (again.status, again.ran) == (0, set()), again.text
    assert smoked.files("reports/smoke") == before


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("lora.rr=8", "rr"),  # refused by Hydra
        ("lora.r=abc", "lora.r"),  # by the schema
        ("adapter=full", "adapter.type = full"),  # as a combination; tests/params/test_compose.py has further ones
    ],
)
def test_wrong_override_is_refused_before_anything_runs(smoked, override, named):
    status, outputs = smoked.git("status", "--porcelain"), smoked.files("reports/smoke")
    composed = (smoked.root / "params.yaml").read_bytes()
    refused = smoked.dvc(*SMOKE, "-S", override)
    assert refused.status != 0
    assert named in refused.text
    assert refused.ran == set()
    assert smoked.git("status", "--porcelain") == status
    assert (smoked.root / "params.yaml").read_bytes() == composed
    assert smoked.files("reports/smoke") == outputs


def test_wrong_edit_fails_in_validate_and_keeps_outputs(smoked):
    params = smoked.root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    edited = text.replace("\n  r: 8\n", "\n  r: abc\n").replace("\n  weight_decay:", "\n  weight_decoy:", 1)  # of train
    assert edited.count("abc") == edited.count("weight_decoy") == 1
    params.write_text(edited, encoding="utf-8")
    before = {folder: smoked.files(folder) for folder in ("models", "reports/smoke", "data/predictions")}
    refused = smoked.dvc("repro")
    assert refused.status != 0
    assert refused.ran == {"validate"}
    assert "params.yaml: lora.r = 'abc'" in refused.text
    assert "params.yaml: train.weight_decoy" in refused.text and "did you mean weight_decay?" in refused.text
    assert {folder: smoked.files(folder) for folder in before} == before


def test_stale_prediction_of_another_seed_changes_no_number(smoked):
    mine = smoked.root / "data/predictions/tuned_42.jsonl"
    mine.with_name("tuned_43.jsonl").write_text(mine.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    before = smoked.files("reports/smoke")
    run = smoked.dvc("repro")
    assert run.status == 0, run.text
    assert {"evaluate"} <= run.ran <= {"evaluate", "report"}
    assert "tuned_43.jsonl is left over" in run.text
    after = smoked.files("reports/smoke")
    assert after["metrics.json"] == before["metrics.json"]
    assert after["items.jsonl"] == before["items.jsonl"]


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="there is a GPU")
def test_missing_gpu_is_reported_before_anything_runs(smoked):
    refused = smoked.dvc(*SMOKE, "-f", "-S", "runtime=cuda")
    assert refused.status != 0
    assert refused.ran == {"validate"}
    assert "error: runtime.device = cuda: " in refused.text and refused.text.rstrip().count("set runtime=cpu") == 1
