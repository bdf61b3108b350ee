"""How bench/arms.py compares two arms."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
ARMS = runpy.run_path(str(ROOT / "bench/arms.py"))
difference = ARMS["difference"]
ROWS = 400
SOURCES = np.array([f"source-{row}" for row in range(ROWS)])


def words(*gaps: float) -> str:
    """Describe a second arm that scores `gaps` points more, by seed, on rows with a little noise."""
    generator = np.random.default_rng(0)
    first = {f"tuned_{seed}": generator.random(ROWS) / 10 for seed in range(len(gaps))}
    second = {seed: scores + gap / 100 for (seed, scores), gap in zip(first.items(), gaps, strict=True)}
    return str(difference(first, second, SOURCES)).partition(": ")[2]


@pytest.mark.parametrize("option", ["--only", "--against"])
@pytest.mark.parametrize("number", ["99", "-1"])
def test_an_unknown_arm_is_refused_in_one_line(option, number):
    command = [sys.executable, "bench/arms.py", "forgetting", "--show", option, number]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.endswith(f"error: {option} {number}: forgetting has the arms 0 to 6\n")


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([5.0], "better"),
        ([-5.0, -1.0, -6.0], "worse"),
        ([-0.5, 0.2, 1.0], "equivalent"),
        # All rows agree on the mean, so more rows are not needed; but single seeds contradict it.
        ([-5.0, 1.0, -6.0], "open, the seeds disagree: more of them are needed, not more rows"),
        ([-0.1, 2.6, -2.4], "open, the seeds disagree: more of them are needed, not more rows"),
    ],
)
def test_a_verdict_stays_open_where_seeds_disagree(gaps, verdict):
    assert words(*gaps) == verdict


def test_an_open_verdict_names_the_rows_needed():
    generator = np.random.default_rng(1)
    first, second = ({"tuned_42": (generator.random(ROWS) < 0.5).astype(float)} for _ in range(2))
    text = str(difference(first, second, SOURCES))
    assert "open, about " in text and int(text.split("about ")[1].split()[0]) > ROWS


STUDY = {"arms": {"none": [], "replay": []}, "metric": "accuracy"}


def run_arm(bits: list[float], right: int, folder: Path) -> Path:
    """Keep the evidence of an arm of one seed: 4 items, the texts of these bits per 100 bytes, 20 questions."""
    systems = {"base": {"accuracy": 0.0}, "tuned_42": {"accuracy": 1.0}}
    rows = [{"id": f"{row}", "source": f"{row}", "slices": [], "scores": systems} for row in range(4)]
    general = {"bits_per_byte": sum(bits) / 100 / len(bits), "choice_accuracy": right / 20}
    texts = [{"bits": value, "bytes": 100} for value in bits]
    questions = [{"logprobs": [-1.0, -2.0], "tokens": [1, 1], "answer": int(row >= right)} for row in range(20)]
    for name, value in {
        "reports/metrics.json": {"retention": {"tuned": general}},
        "reports/cost.json": {"train_42": {"train_seconds": 9.0, "memory_peak_gib": 1.0}},
        "data/retention/tuned_42.json": {"texts": texts, "choices": questions, "harm": [], "harmless": []},
        "data/retention/tuned_1.json": "of an earlier run",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(json.dumps(value))
    Path("reports/items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ARMS["keep"](Path("reports"), folder)
    return folder


def test_general_abilities_are_compared_item_by_item(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = [run_arm([90.0, 100.0, 110.0], 10, Path("arms/0")), run_arm([86.0, 95.0, 104.0], 14, Path("arms/1"))]
    first, second = ARMS["table"](STUDY, kept, 0).splitlines()[2:]
    assert "| 1.000 | 50.0 | 9 s |" in first
    # t(0.975, 2) = 4.303 times the standard error of the differences -4, -5, -6 per 100 bytes: 1 / sqrt(3)
    assert "| 0.950 (-0.050 [-0.075, -0.025]) | 70.0 (+20.0 [" in second
    assert sorted(path.name for path in Path("arms/1/retention").iterdir()) == ["tuned_42.json"]


def test_evidence_without_the_general_items_has_no_interval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = [run_arm([90.0], 10, Path("arms/0")), run_arm([80.0], 14, Path("arms/1"))]
    Path("arms/0/retention/tuned_42.json").unlink()
    assert "| 0.800 | 70.0 | 9 s |" in ARMS["table"](STUDY, kept, 0)
