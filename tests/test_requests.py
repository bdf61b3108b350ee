"""The machine sends no request that the user did not ask for. Every socket is blocked.

tests/e2e/test_smoke.py checks all stages in the same way, with training and predictions.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.network import Blocker

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[1]
METRIC = "from stages.evaluate import extra; extra.totals(['meteor'], ['a'], ['a'])"
STEPS = ("train.max_steps=2", "predict.max_new_tokens=4")


@pytest.fixture
def blocker(tmp_path) -> Blocker:
    return Blocker(tmp_path / "blocker")


def run(python: Path | str, blocker: Blocker, folder: Path, command: str, **variables: str) -> None:
    """Run a module of the repository in `folder` as a user who has set no variable but these."""
    arguments, environment = [python, "-m", *command.split()], blocker.environment(ROOT) | variables
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_training_and_own_texts_ask_no_other_machine(blocker, room, warm) -> None:
    root = room(*STEPS)
    (root / "texts.txt").write_text("Where is the lift?\n", encoding="utf-8")
    run(sys.executable, blocker, root, "stages.train 42")  # with all imports
    predict = "stages.cli predict --constrain none --system base_0shot --input texts.txt --output answers.jsonl"
    run(warm.python, blocker, root, predict)
    assert blocker.attempts() == []


def test_trainer_reports_where_the_user_switches_reports_on(blocker, room, warm) -> None:
    """What the user sets is kept; and a test that finds no attempt, also in a fork of the warm server, can fail."""
    run(warm.python, blocker, room(*STEPS), "stages.train 42", HF_HUB_DISABLE_TELEMETRY="0", DO_NOT_TRACK="0")
    assert any("huggingface.co" in attempt for attempt in blocker.attempts())


@pytest.mark.parametrize(
    ("variables", "reached"),
    [({}, {"huggingface.co"}), ({"HF_UPDATE_DOWNLOAD_COUNTS": "1"}, {"huggingface.co", "s3.amazonaws.com"})],
)
def test_loading_a_metric_of_the_hub_is_not_counted(blocker, tmp_path, warm, variables, reached) -> None:
    """Who names a metric asks for the hub; the evaluate library would count the load at another address."""
    environment = blocker.environment(ROOT) | {"HF_HOME": str(tmp_path / "home")} | variables
    subprocess.run([warm.python, "-c", METRIC], cwd=tmp_path, env=environment, capture_output=True)
    assert {attempt.split()[0] for attempt in blocker.attempts()} == reached


@pytest.mark.parametrize("script", ["step", "gpu", "decode"])
def test_benchmarks_switch_telemetry_off_before_any_library(script) -> None:
    """The hub's library reads the variable when it is imported."""
    imported = re.findall(r"^(?:import|from) (\w+)", (ROOT / f"bench/{script}.py").read_text(), re.MULTILINE)
    assert next(name for name in imported if name not in sys.stdlib_module_names) == "stages"
