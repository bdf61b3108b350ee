"""What bench/arms.py says of two arms."""

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


def told(*gaps: float) -> str:
    """The words for a second arm that scores so many points more, by seed, on rows with a little noise."""
    generator = np.random.default_rng(0)
    first = {f"tuned_{seed}": generator.random(ROWS) / 10 for seed in range(len(gaps))}
    second = {seed: scores + gap / 100 for (seed, scores), gap in zip(first.items(), gaps, strict=True)}
    return str(difference(first, second, SOURCES)).partition(": ")[2]


@pytest.mark.parametrize("option", ["--only", "--against"])
@pytest.mark.parametrize("number", ["99", "-1"])
def test_an_arm_that_is_not_there_is_one_line(option, number):
    command = [sys.executable, "bench/arms.py", "forgetting", "--show", option, number]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.endswith(f"error: {option} {number}: forgetting has the arms 0 to 6\n")


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([5.0], "better"),
        ([-5.0, -1.0, -6.0], "worse"),
        ([-0.5, 0.2, 1.0], "equivalent"),
        # All rows say the same of the mean, so none more are needed; yet a seed by itself says otherwise.
        ([-5.0, 1.0, -6.0], "open, the seeds disagree: more of them are needed, not more rows"),
        ([-0.1, 2.6, -2.4], "open, the seeds disagree: more of them are needed, not more rows"),
    ],
)
def test_what_rows_settle_stays_open_where_a_seed_says_otherwise(gaps, verdict):
    assert told(*gaps) == verdict


def test_rows_that_do_not_settle_it_say_how_many_would():
    generator = np.random.default_rng(1)
    first, second = ({"tuned_42": (generator.random(ROWS) < 0.5).astype(float)} for _ in range(2))
    words = str(difference(first, second, SOURCES))
    assert "open, about " in words and int(words.split("about ")[1].split()[0]) > ROWS
