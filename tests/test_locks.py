"""Two commands at once: the second names the first, and no files are lost or mixed."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from stages import files, locks, params
from stages.commands import clone
from stages.commands import compose as command
from stages.errors import DataError
from stages.params import compose

ROOT = Path(__file__).parents[1]
HOLD = "import sys, time; from stages import locks; from pathlib import Path\n"
HOLD += "with locks.exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(locks.OWNER, raising=False)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Return a function that starts a process, which holds the lock of an output until the test ends."""
    monkeypatch.setattr(locks, "PAUSE", 0.01)
    started = []

    def hold(output: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", HOLD, output], env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout and process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_second_process_is_named_the_first(other) -> None:
    first = other("out.jsonl")
    named = rf"^out\.jsonl: process {first.pid} \(.*out\.jsonl, since .*\) works on it; wait until"
    with pytest.raises(DataError, match=named), locks.exclusive(Path("out.jsonl")):
        pytest.fail("two processes hold one lock")
    with locks.exclusive(Path("other.jsonl")):
        pass


def test_lock_ends_with_a_killed_process(other) -> None:
    first = other("out.jsonl")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert locks.path_of(Path("out.jsonl")).exists()
    with locks.exclusive(Path("out.jsonl")):
        pass
    assert list(Path().iterdir()) == []


def test_lock_that_is_waited_for_is_held_by_one() -> None:
    def add() -> None:
        for _ in range(10):
            with locks.exclusive(Path("sum"), wait=True):
                before = int(Path("sum").read_text())
                time.sleep(0.001)
                Path("sum").write_text(str(before + 1))

    Path("sum").write_text("0")
    locks_before, locks.TRIES = locks.TRIES, 1
    adding = [get_context("fork").Process(target=add) for _ in range(3)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    locks.TRIES = locks_before
    assert Path("sum").read_text() == "30" and list(Path().iterdir()) == [Path("sum")]


@pytest.mark.parametrize("bad", ["link", "folder"])
def test_lock_file_that_cannot_be_one_is_refused(bad) -> None:
    Path("precious").write_text("kept")
    lock = locks.path_of(Path("out.jsonl"))
    lock.symlink_to("precious") if bad == "link" else lock.mkdir()
    with pytest.raises(DataError, match=r"^\.out\.jsonl\.lock: cannot lock: .*; choose another place"):
        locks.take(Path("out.jsonl"))
    assert Path("precious").read_text() == "kept"


@pytest.mark.parametrize("content", ["", "7", "no number", "1 \x1b[2J\n::error::", "9" * 999, "\udc80"])
def test_content_of_a_lock_is_shown_as_one_plain_line(content, monkeypatch) -> None:
    monkeypatch.setattr(locks, "TRIES", 1)
    path = locks.path_of(Path("out.jsonl"))
    path.write_bytes(content.encode(errors="surrogateescape"))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError) as refused:
            locks.take(Path("out.jsonl"))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 400


@pytest.mark.parametrize("output", [".", "/", ""])
def test_output_without_a_name_is_refused(output) -> None:
    with pytest.raises(DataError, match="is a folder without a name; name a file or folder in it"):
        locks.take(Path(output))


def test_parameters_of_a_running_experiment_are_not_read(other, monkeypatch) -> None:
    compose.compose(["experiment=smoke"], params.PARAMS)
    before, first = params.PARAMS.read_bytes(), other(str(locks.EXPERIMENT))
    for attempt in (params.check_file, params.runtime, lambda: params.read("seed"), lambda: command.compose([], False)):
        with pytest.raises(DataError, match=rf"^\.tunetrail/experiment: process {first.pid} .* in this clone with its own"):
            attempt()
    assert params.PARAMS.read_bytes() == before
    monkeypatch.setenv(locks.OWNER, str(first.pid))  # as in the stages that it runs
    assert params.read("seed").seed == 42


def test_experiment_that_starts_during_compose_keeps_its_own(other, monkeypatch) -> None:
    composed = compose.text(["experiment=smoke"])

    def slow(_: list[str]) -> str:
        other(str(locks.EXPERIMENT))
        params.PARAMS.write_text("of the experiment")
        return composed

    monkeypatch.setattr(compose, "text", slow)
    with pytest.raises(DataError, match=r"^\.tunetrail/experiment: process "):
        command.compose([], False)
    assert params.PARAMS.read_text() == "of the experiment"


def test_experiment_cannot_start_while_compose_writes(monkeypatch) -> None:
    monkeypatch.setattr(locks, "TRIES", 1)
    composed = compose.text(["experiment=smoke"])
    monkeypatch.setattr(compose, "text", lambda _: composed)

    def start(*_: object) -> None:
        with pytest.raises(DataError, match="works on it"):
            locks.take(locks.EXPERIMENT)

    monkeypatch.setattr(command, "write_text", start)
    command.compose([], False)
    locks.take(locks.EXPERIMENT).close()


@pytest.mark.parametrize("how", ["rwlock", "lock"])
def test_compose_leaves_parameters_of_a_running_dvc_alone(how, monkeypatch) -> None:
    clone.DVC.mkdir(parents=True)
    with (clone.DVC / "lock").open("w") as file:
        if how == "lock":
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            files.write_json(clone.DVC / "rwlock", {"write": {"/x": {"pid": os.getpid(), "cmd": "dvc repro"}}})
        with pytest.raises(DataError, match=r"^\.dvc/tmp: .* runs in this clone; wait until it ends"):
            command.compose(["experiment=smoke"], False)
    assert not params.PARAMS.exists()


def test_composed_parameters_are_never_half_written(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(Path, "replace", lambda part, _: seen.append((params.PARAMS.exists(), part.read_text())))
    compose.compose(["experiment=smoke"], params.PARAMS)
    ((existed, text),) = seen
    assert not existed and params.check(params.parse(text.encode(), "")).name == "smoke"


@pytest.mark.parametrize("change", ["file", "folder", "gone"])
def test_what_changes_while_it_is_read_is_refused(change) -> None:
    files.write_text(Path("adapter/weights"), "old")
    files.write_text(Path("rows"), "old")
    with files.unchanged(Path("rows"), Path("adapter"), Path("missing")):
        pass
    message = r"^(rows|adapter): another process changed it while it was read"
    with pytest.raises(DataError, match=message), files.unchanged(Path("rows"), Path("adapter")):
        files.write_text(Path("rows" if change == "file" else "adapter/weights"), "new")
        if change == "gone":
            shutil.rmtree("adapter")
            Path("adapter/weights").read_text()


@pytest.fixture
def experiments(tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Return a function that starts experiment.sh in a clone; dvc logs the parameters at its start and end."""
    for name in ("smoke", "handbook"):
        files.write_text(tmp_path / f"conf/experiment/{name}.yaml", "")
        (tmp_path / "reports" / name).mkdir(parents=True)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("default")
    stand_ins = {
        "tunetrail": '[ "$1" = compose ] && echo "$2" > params.yaml; true',
        "dvc": 'if [ "$1" = repro ]; then cat params.yaml >> run.log; touch started; '
        "while [ ! -e go ]; do sleep 0.05; done; cat params.yaml >> run.log; cp params.yaml dvc.lock; fi",
        "python": f'exec {sys.executable} "$@"',
    }
    for name, line in stand_ins.items():
        files.write_text(tmp_path / "bin" / name, f"#!/usr/bin/env bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    started = []

    def start(name: str) -> "subprocess.Popen[str]":
        command, streams = ["bash", ".ci/experiment.sh", name], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, start_new_session=True, **streams))
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(path: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert Path(path).exists()


def test_second_experiment_stops_and_changes_nothing(experiments) -> None:
    first = experiments("smoke")
    wait_for("started")
    second = experiments("handbook")
    _, printed = second.communicate(timeout=60)
    assert second.returncode == 1
    assert printed.startswith(f"error: .tunetrail/experiment: process {first.pid} (make experiment NAME=smoke, since ")
    assert printed.count("\n") == 1
    Path("go").touch()
    assert first.wait(60) == 0
    assert Path("run.log").read_text() == "experiment=smoke\n" * 2
    assert Path("reports/smoke/params.yaml").read_text() == "experiment=smoke\n" and not list(
        Path("reports/handbook").iterdir()
    )
    assert Path("params.yaml").read_text() == Path("dvc.lock").read_text() == "default"


def test_experiment_next_to_a_running_dvc_never_takes_the_lock(experiments, tmp_path) -> None:
    """A stage of that DVC would see the lock and stop too, so that both commands end."""
    files.write_json(tmp_path / clone.DVC / "rwlock", {"write": {"/x": {"pid": os.getpid(), "cmd": "dvc repro"}}})
    _, printed = experiments("smoke").communicate(timeout=60)
    assert printed.startswith(f"error: .dvc/tmp: process {os.getpid()} (dvc repro) runs in this clone")
    assert not locks.path_of(tmp_path / locks.EXPERIMENT).exists()


@pytest.mark.parametrize("ends", [True, False])
def test_experiment_waits_for_a_dvc_that_its_lock_stops(monkeypatch, ends) -> None:
    """A DVC that started at the same moment stops at the lock; if the experiment stopped too, nobody would go on."""
    monkeypatch.setattr(clone, "PATIENCE", 1.0)
    clone.DVC.mkdir(parents=True)
    files.write_json(clone.DVC / "rwlock", {"write": {"/x": {"pid": os.getpid(), "cmd": "dvc repro"}}})
    monkeypatch.setattr(time, "sleep", lambda _: (clone.DVC / "rwlock").unlink(missing_ok=True) if ends else None)
    with locks.take(locks.EXPERIMENT) as file:
        file.flush()
        monkeypatch.setenv(locks.OWNER, str(os.getpid()))
        with suppress(DataError), clone.without_experiment():
            assert ends
            return
        assert not ends


def test_killed_experiment_frees_the_clone_with_its_children(experiments) -> None:
    first = experiments("smoke")
    wait_for("started")
    first.kill()  # its dvc still runs, and with it the experiment
    first.wait()
    assert experiments("handbook").wait(60) == 1
    Path("go").touch()
    deadline = time.monotonic() + 60
    while (status := experiments("handbook").wait(60)) == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 0
    assert Path("reports/handbook/params.yaml").read_text() == "experiment=handbook\n"
    assert Path("params.yaml").read_text() == "default"
