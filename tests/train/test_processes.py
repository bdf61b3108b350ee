"""Training in two processes equals training in one up to float noise, also after a kill; an error of both is one line."""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages import records
from stages.errors import DataError
from stages.params import compose
from stages.training import launch
from tests.fixtures.training import contents, cost, resumed_at, saved, train, training

pytestmark = pytest.mark.model

# Of nine rows, the second batch of an epoch has one: half a micro-batch for the first process, nothing for the second.
STEPS = ["train.max_steps=12", "train.save_steps=3", "train.eval_steps=3", "train.batch_size=8", "runtime.micro_batch_size=2"]
EXACT = ["quantization=none", "train.precision=fp32", "train.group_by_length=true", "train.warmup_steps=0", "lora.r=4"]
TWO = ["runtime.launcher=ddp", "runtime.processes=2", "runtime.threads=2"]

# The processes need not import the libraries either.
LAUNCHED = """
import sys
from stages import stage
from stages.train.__main__ import main
sys.executable, sys.argv = {python!r}, ["train", "42"]
stage.run(main)
"""


@pytest.fixture(scope="module")
def launched(warm):
    """Return a function that runs the train stage in a folder whose params.yaml asks for two processes."""
    program = LAUNCHED.format(python=str(warm.python))
    return lambda root: warm(root, "-c", program, GLOO_SOCKET_IFNAME="lo")


@pytest.fixture(scope="module")
def shared(furnish, rows, launched, tmp_path_factory) -> tuple[Path, Path]:
    """Return a folder in which two processes trained, and one that still waits for them."""
    folder = tmp_path_factory.mktemp("shared")
    finished, waiting = (furnish(folder / name, *STEPS, *EXACT, *TWO) for name in ("finished", "waiting"))
    for root in (finished, waiting):
        records.write(root / "data/formatted/train.jsonl", rows["train"][:9])
    run = launched(finished)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("parameters in") == 1
    return finished, waiting


def agree(one: Path, two: Path) -> None:
    """In fp32, losses agree to 1e-5 and every weight to 1e-4 after twelve steps."""
    import torch
    from safetensors.torch import load_file

    for name in ("log", "validation"):
        losses = [[entry["loss"] for entry in training(root)[name]] for root in (one, two)]
        assert len(losses[0]) == (12 if name == "log" else 4)
        assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    tuned = [load_file(root / "models/42/adapter/adapter_model.safetensors") for root in (one, two)]
    torch.testing.assert_close(tuned[1], tuned[0], rtol=0, atol=1e-4)


def test_two_processes_equal_one(shared, furnish, rows, tmp_path):
    two, one = shared[0], furnish(tmp_path / "one", *STEPS, *EXACT)
    records.write(one / "data/formatted/train.jsonl", rows["train"][:9])
    agree(train(one), two)
    assert [cost(root)["processes"] for root in (one, two)] == [1, 2]
    assert saved(two) == [] and not list(two.rglob(".*.lock"))


@pytest.mark.skipif(not find_spec("deepspeed"), reason="DeepSpeed is not installed")
def test_deepspeed_equals_ddp(shared, launched, furnish, rows, tmp_path):
    root = furnish(tmp_path / "deepspeed", *STEPS, *EXACT, *TWO, "runtime.launcher=deepspeed")
    records.write(root / "data/formatted/train.jsonl", rows["train"][:9])
    run = launched(root)
    assert run.returncode == 0, run.stderr
    agree(shared[0], root)


@pytest.mark.skipif(bool(find_spec("deepspeed")), reason="DeepSpeed is installed")
def test_missing_deepspeed_is_one_line(options):
    runtime = options().runtime.model_copy(update={"launcher": "deepspeed", "processes": 2})
    with pytest.raises(
        DataError, match=r"^runtime\.launcher = deepspeed: not installed; pip install deepspeed, or use launcher=ddp$"
    ):
        launch._deepspeed(runtime)


def children_of(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_killed_parent_ends_all_and_resumed_run_equals(shared, launched, tmp_path):
    """The newest checkpoint lies in the middle of a later epoch."""
    root = shutil.copytree(shared[1], tmp_path / "killed", symlinks=True)
    environment = {**os.environ, "PYTHONPATH": str(compose.ROOT)}
    stage = subprocess.Popen(
        [sys.executable, "-m", "stages.train", "42"],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    reached = until(lambda: stage.poll() is not None or any(root.rglob("checkpoint-3/trainer_state.json")), 120)
    assert reached and stage.poll() is None, stage.communicate()[1]
    processes = children_of(stage.pid)
    stage.kill()
    assert stage.wait() == -signal.SIGKILL and len(processes) == 2
    assert until(lambda: not any(map(runs, processes)), 10)
    assert not (root / "models/42").exists()
    assert all(len(list(root.rglob(f"checkpoint-3/rng_state_{process}.pth"))) == 1 for process in (0, 1))
    again = launched(root)
    assert again.returncode == 0, again.stderr
    assert resumed_at(root) in (3, 6, 9)
    assert contents(root / "models") == contents(shared[0] / "models")
    assert training(root) == training(shared[0])


def test_mistake_that_both_meet_is_one_line(shared, launched, tmp_path):
    root = shutil.copytree(shared[1], tmp_path / "broken", symlinks=True)
    (root / "data/formatted/train.jsonl").write_text("{}\n", encoding="utf-8")
    run = launched(root)
    (line,) = [line for line in run.stderr.splitlines() if "data/formatted/train.jsonl" in line]
    assert line.startswith("error: data/formatted/train.jsonl:1: ") and run.stderr.splitlines()[-1] == line
    assert run.returncode == 1 and "Traceback" not in run.stderr


def test_cause_is_the_mistake_or_the_signal():
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    lost, killed, ended, wrong = (
        ProcessFailure(local_rank=rank, pid=7, exitcode=code, error_file="") for rank, code in enumerate((1, -9, -15, 1))
    )
    lost.message, wrong.message = "Traceback: Connection closed by peer", "error: data/x: wrong"
    assert str(launch._cause([lost, ended, wrong])) == "error: data/x: wrong"
    assert isinstance(cause := launch._cause([lost, killed, ended]), DataError)
    assert str(cause).startswith("runtime.processes: process 1 was ended by SIGKILL; if memory ran out, lower")
    assert str(launch._cause([lost])) == lost.message


def test_places_without_a_row_fill_micro_batches():
    from datasets import Dataset
    from torch.utils.data import SequentialSampler

    from stages.training.sharing import NO_ROW, Evened, Rows

    rows = Rows(Dataset.from_dict({"input_ids": [[5, 6], [7]], "labels": [[-100, 6], [7]], "seq_lengths": [[2], [1]]}))
    assert list(Evened(SequentialSampler(range(5)), rows=4)) == [0, 1, 2, 3, 4, NO_ROW, NO_ROW, NO_ROW]
    assert list(Evened(SequentialSampler(range(4)), rows=4)) == [0, 1, 2, 3]
    assert rows[NO_ROW] == {"input_ids": [5], "labels": [-100], "seq_lengths": [1]}
    assert rows[0]["labels"] == [-100, 6] and len(rows) == 2
