"""How bench/arms.py compares two arms."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
difference = runpy.run_path(str(ROOT / "bench/arms.py"))["difference"]
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
