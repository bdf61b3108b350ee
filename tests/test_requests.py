"""No request leaves the machine that the user did not ask for: training and prediction with every socket blocked."""

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Read by every Python process in whose path it lies: what looks for another machine is written down and refused.
BLOCKER = """
import socket
from pathlib import Path

ATTEMPTS = Path(__file__).with_name("attempts.txt")

def refuse(*address, **_):
    with ATTEMPTS.open("a") as file:
        file.write(f"{address}\\n")
    raise OSError("blocked")

connect = socket.socket.connect
socket.getaddrinfo = refuse
socket.socket.connect = lambda self, address: connect(self, address) if self.family == socket.AF_UNIX else refuse(address)
"""
STEPS = ("train.max_steps=2", "predict.max_new_tokens=4")


@pytest.fixture
def blocked(tmp_path, python) -> Callable[..., list[str]]:
    """Runs modules of the repository with blocked sockets and returns the addresses that were asked for."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")

    def run(folder: Path, *commands: str, **variables: str) -> list[str]:
        for command in commands:
            done = python(folder, "-m", *command.split(), PYTHONPATH=f"{tmp_path}:{ROOT}", CI="", **variables)
            assert done.returncode == 0, done.stderr
        attempts = tmp_path / "attempts.txt"
        return attempts.read_text(encoding="utf-8").splitlines() if attempts.is_file() else []

    return run


@pytest.mark.model
def test_training_and_prediction_ask_no_other_machine(blocked, room) -> None:
    root = room(*STEPS)
    (root / "texts.txt").write_text("Where is the lift?\n", encoding="utf-8")
    (root / "data/formatted/test.jsonl").write_bytes((root / "data/formatted/valid.jsonl").read_bytes())
    predict = "stages.cli predict --input texts.txt --output answers.jsonl"
    assert blocked(root, "stages.train 42", "stages.predict tuned_42", predict) == []


@pytest.mark.model
def test_blocker_sees_what_trl_reports_by_default(blocked, room) -> None:
    """Without the switches the trainer looks for the hub, so the test above can fail."""
    assert blocked(room(*STEPS), "stages.train 42", HF_HUB_DISABLE_TELEMETRY="0", DO_NOT_TRACK="0") != []
