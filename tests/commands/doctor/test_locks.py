"""Locks and a lock file that a kill leaves behind, and those that a living process holds."""

import fcntl
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from stages.params import compose
from tests.fixtures.repairs import DEAD, files, lock, old, printed


def test_what_a_living_process_holds_is_left_alone(root, capsys) -> None:
    old(root / ".dvc/tmp/rwlock", lock(os.getpid()))
    old(root / f"models/42/.adapter.{os.getpid()}.part")
    old(root / f"data/.{'x' * 22}.tmp")
    (root / "reports").mkdir()
    before = files(root)
    assert printed(capsys, fix=True) == ["nothing to fix"]
    assert files(root) == before


def test_lock_that_dvc_is_writing_is_left_alone(root, capsys) -> None:
    path = old(root / ".dvc/tmp/rwlock")
    with path.with_name("rwlock.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert printed(capsys, fix=True) == ["nothing to fix"]
    assert path.exists()


def test_only_entries_of_dead_processes_are_dropped(root, capsys) -> None:
    mine, dead = {"pid": os.getpid(), "cmd": "dvc repro"}, {"pid": DEAD, "cmd": "dvc repro"}
    path = old(root / ".dvc/tmp/rwlock", json.dumps({"read": {"/a": [mine, dead]}, "write": {"/b": dead, "/c": mine}}))
    assert "names 1 dead process; --fix would drop the entries" in printed(capsys)[0]
    assert printed(capsys, fix=True)[0].startswith("fixed: .dvc/tmp/rwlock")
    assert json.loads(path.read_text()) == {"read": {"/a": [mine]}, "write": {"/c": mine}}


def test_zombie_holds_no_lock(root, capsys) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    path = old(root / ".dvc/tmp/rwlock", lock(child.pid))
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    printed(capsys, fix=True)
    assert not path.exists()
    child.wait()


def test_running_dvc_is_named(root, capsys) -> None:
    with old(root / ".dvc/tmp/lock", " 1\n").open() as held:
        assert printed(capsys) == ["nothing to fix"]  # a file alone locks nothing
        fcntl.flock(held, fcntl.LOCK_EX)
        assert printed(capsys, fix=True) == ["warning: .dvc/tmp/lock: a running DVC command holds it; wait until it ends"]


@pytest.mark.parametrize("cut", ["schema: '2.0'\nstages:\n  fetch:\n    cmd: python\n    deps: [{path", "stages: 7\n", "\0"])
def test_damaged_dvc_lock_is_restored_from_git(root, capsys, cut) -> None:
    good = (root / "dvc.lock").read_bytes()
    (root / "dvc.lock").write_text(cut, encoding="utf-8")
    assert printed(capsys)[0].startswith("error: dvc.lock: damaged")
    assert printed(capsys, fix=True)[0].startswith("fixed: dvc.lock: damaged")
    assert (root / "dvc.lock").read_bytes() == good
    (kept,) = (root / ".tunetrail/broken").iterdir()
    assert kept.read_text(encoding="utf-8") == cut


def test_dvc_lock_cut_in_a_line_or_an_entry_is_restored(root, capsys) -> None:
    """Cut between two entries, it lists fewer results, and DVC takes those that are missing from its run cache."""
    shutil.copy(compose.ROOT / "dvc.yaml", root / "dvc.yaml")
    good = (root / "dvc.lock").read_bytes()
    draw = random.Random(5)
    cuts = [draw.randrange(1, len(good)) for _ in range(6)]
    breaks = [at + 1 for at, byte in enumerate(good) if byte == ord("\n")]
    for cut in [*cuts, *draw.sample(breaks, 6), breaks[-1] - 1]:
        (root / "dvc.lock").write_bytes(good[:cut])
        lines = printed(capsys, fix=True)
        if lines == ["nothing to fix"]:
            entries = [*re.finditer(rb"^    - path: .*\n(?:      .*\n)*|^  \S+:\n    cmd: ", good[:cut], re.MULTILINE)]
            assert cut in breaks and (entries[-1].end() == cut or good[:cut].endswith(b"outs:\n")), cut
            continue
        assert lines[0].startswith("fixed: dvc.lock: damaged (") and (root / "dvc.lock").read_bytes() == good, cut


def test_unresolved_merge_in_dvc_lock_is_left_to_the_user(root, capsys) -> None:
    merged = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> theirs\n"
    (root / "dvc.lock").write_text(merged, encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert "unresolved merge; keep one side" in lines[0] and lines[-1] == "errors that remain: 1; see above"
    assert (root / "dvc.lock").read_text(encoding="utf-8") == merged


def test_damaged_dvc_lock_without_a_committed_one_stays(root, capsys) -> None:
    shutil.rmtree(root / ".git")
    (root / "dvc.lock").write_text("stages: 7\n", encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert "git has no undamaged one" in lines[0] and lines[-1] == "errors that remain: 1; see above"
    assert (root / "dvc.lock").read_text(encoding="utf-8") == "stages: 7\n"


@pytest.mark.parametrize("name", ["dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("cut", ["", "seed: [1,", "a: 'cut"])
def test_unreadable_yaml_is_left_to_the_user(root, capsys, name, cut) -> None:
    (root / name).write_text(cut, encoding="utf-8")
    lines = printed(capsys, fix=True)
    assert lines[0].startswith(f"error: {name}: cannot be read") and f"`git checkout {name}`" in lines[0]
    assert lines[-1] == "errors that remain: 1; see above" and (root / name).read_text(encoding="utf-8") == cut


def test_lock_of_git_is_named_and_kept(root, capsys) -> None:
    (root / ".git/index.lock").write_text("", encoding="utf-8")
    assert printed(capsys, fix=True) == [
        "warning: .git/index.lock: git stops while it exists; delete it if no git command runs"
    ]
    assert (root / ".git/index.lock").exists()


def test_folder_in_place_of_dvc_lock_is_named(root, capsys) -> None:
    (root / "dvc.lock").unlink()
    (root / "dvc.lock").mkdir()
    assert (
        printed(capsys)[0] == "error: dvc.lock: is a folder; move it away; `git checkout dvc.lock` restores the committed file"
    )
