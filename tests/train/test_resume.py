"""Interrupted training: resumed runs equal uninterrupted ones, and checkpoints belong to one configuration."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from stages import locks
from stages.errors import DataError
from stages.params import compose
from stages.training import checkpoints
from tests.fixtures.training import SIX_STEPS, contents, cost, resumed_at, saved, train, training

pytestmark = pytest.mark.model


# In step 4 the adapter of 16 kB can be written, but not the optimizer's state, which is twice as large.
FULL_FROM_STEP_4 = """
import resource, sys
from transformers import Trainer
from stages import stage
from stages.train.__main__ import main

step = Trainer.training_step

def limited_step(self, *arguments, **named):
    if self.state.global_step == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))
    return step(self, *arguments, **named)

Trainer.training_step = limited_step
sys.argv = ["train", "42"]
stage.run(main)
"""

# The last step and its checkpoint are complete when SIGKILL ends the process while it stores the adapter.
KILLED_WHILE_STORING = """
import os, signal, sys
from stages.training import adapt
from stages.train.__main__ import main

adapt.save = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["train", "42"]
main()
"""


def test_killed_run_leaves_checkpoints_and_no_output(runs):
    assert saved(runs.killed) == ["checkpoint-2", "checkpoint-4"]
    assert not (runs.killed / "models/42").exists()


def test_resumed_run_equals_uninterrupted(runs, tmp_path):
    root = shutil.copytree(runs.killed, tmp_path / "again")
    (path,) = root.glob(".tunetrail/checkpoints/*/checkpoint-4/trainer_state.json")
    state = json.loads(path.read_text(encoding="utf-8"))
    state["log_history"][-1]["elapsed"] += 1000
    path.write_text(json.dumps(state), encoding="utf-8")
    train(root)
    assert 1000 < cost(root)["train_seconds"] <= cost(root)["seconds"] < 1000 + cost(runs.finished)["seconds"] + 60
    assert (resumed_at(root), resumed_at(runs.finished)) == (4, 0)
    assert [entry["step"] for entry in training(root)["log"]] == [1, 2, 3, 4, 5, 6]
    assert [entry["step"] for entry in training(root)["validation"]] == [2, 4, 6]
    assert contents(root / "models") == contents(runs.finished / "models")
    assert saved(root) == saved(runs.finished) == []


EARLY = ["train.max_steps=30", "train.eval_steps=1", "train.save_steps=1", "train.early_stopping_patience=2"]


@pytest.mark.parametrize("end", [["train.learning_rate=0.01"], [*EARLY, "train.learning_rate=0.9"]], ids=["planned", "early"])
def test_run_killed_while_storing_makes_no_further_step(furnish, warm, tmp_path, end):
    overrides = [*SIX_STEPS, "quantization=none", "train.lr_scheduler_type=constant", "train.warmup_steps=0", *end]
    finished, killed = furnish(tmp_path / "finished", *overrides), furnish(tmp_path / "killed", *overrides)
    died = warm(killed, "-c", KILLED_WHILE_STORING)
    assert died.returncode == -signal.SIGKILL, died.stderr
    train(finished)
    train(killed)
    steps = training(finished)["steps"]
    assert resumed_at(killed) == steps
    assert steps < 30 if "train.max_steps=30" in end else steps == 6
    assert contents(killed / "models") == contents(finished / "models")


@pytest.mark.parametrize("rest", [None, '{"epoch": 1.3, "glo'], ids=["missing", "half written"])
def test_truncated_newest_checkpoint_is_skipped(runs, tmp_path, rest):
    root = shutil.copytree(runs.killed, tmp_path / "again")
    (state,) = root.glob(".tunetrail/checkpoints/*/checkpoint-4/trainer_state.json")
    state.unlink() if rest is None else state.write_text(rest, encoding="utf-8")
    train(root)
    assert resumed_at(root) == 2
    assert contents(root / "models") == contents(runs.finished / "models")


def test_full_disk_ends_with_one_line_and_next_run_resumes(furnish, warm, tmp_path):
    root = furnish(tmp_path / "full", *SIX_STEPS, "quantization=none")
    run = warm(root, "-c", FULL_FROM_STEP_4)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr, run.stderr
    line = run.stderr.splitlines()[-1]
    assert line.startswith("error: a checkpoint cannot be stored: ") and ".tunetrail/" in line
    assert not (root / "models/42").exists()
    assert resumed_at(train(root)) == 2


def test_other_learning_rate_starts_from_step_zero(runs, tmp_path):
    root = shutil.copytree(runs.killed, tmp_path / "again")
    compose.compose(
        ["experiment=smoke", "runtime.threads=1", *runs.overrides, "train.learning_rate=5e-4"], root / "params.yaml"
    )
    train(root)
    assert resumed_at(root) == 0
    rates = [entry["learning_rate"] for entry in training(root)["log"]]
    assert rates == pytest.approx([entry["learning_rate"] / 2 for entry in training(runs.finished)["log"]])
    assert saved(root) == ["checkpoint-2", "checkpoint-4"]


def test_checkpoint_folder_depends_on_all_inputs(options, tmp_path):
    rows, others = tmp_path / "rows", tmp_path / "others"
    rows.write_text("a", encoding="utf-8")
    others.write_text("b", encoding="utf-8")

    def place(*overrides: str, seed: int = 42, file: Path = rows) -> Path:
        p = options(*overrides)
        return checkpoints.folder(seed, p.model_copy(update={"runtime": None}), p.runtime, [file])

    changes = ["train.learning_rate=5e-4", "lora.r=6", "quantization=none", "format.max_length=99", "train.optim=sgd"]
    changes += ["runtime.micro_batch_size=2", "runtime.threads=2"]  # float noise would break resumed = uninterrupted
    places = [place(), place(seed=43), place(file=others), *(place(change) for change in changes)]
    assert len(set(places)) == len(places)
    assert place() == places[0]


def test_second_run_of_one_training_stops(furnish, tmp_path, monkeypatch):
    from stages.training import run

    root = furnish(tmp_path / "twice", *SIX_STEPS, "quantization=none")

    def during(*_, **named):
        with pytest.raises(DataError, match=r"checkpoints/\w+: process \d+ \(.*\) works on it; wait until it ends"):
            train(root)
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, "TRIES", 1)
    monkeypatch.setattr(run, "train", during)
    with pytest.raises(KeyboardInterrupt):
        train(root)
    assert not (root / "models/42").exists() and not list(root.rglob(".*.lock"))
