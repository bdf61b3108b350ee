"""tunetrail doctor: findings, repairs that fail, and runs in progress."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from stages import locks
from stages.commands.doctor.command import find
from stages.params import compose
from tests.fixtures.repairs import DEAD, committed_lock, files, old, old_folder, printed


def test_nothing_wrong_is_reported_as_nothing(root, capsys) -> None:
    (root / "dvc.lock").write_text(committed_lock(), encoding="utf-8")
    assert printed(capsys) == ["nothing to fix"]


def test_failed_repair_is_an_error_and_others_continue(root, capsys, monkeypatch) -> None:
    first, second = old(root / f"data/.a.{DEAD}.part"), old(root / f"data/.b.{DEAD}.part")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == first.name:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    lines = printed(capsys, fix=True)
    assert lines[0].startswith("error: ") and "--fix could not delete it: " in lines[0]
    assert lines[1].startswith("fixed: ") and lines[2] == "errors that remain: 1; see above"
    assert first.exists() and not second.exists()


def test_interrupted_experiment_is_reported(root, capsys) -> None:
    for name in ("params.yaml", "dvc.lock"):
        old(root / ".tunetrail/before" / name)
    (line,) = printed(capsys, fix=True)
    assert line.startswith("warning: .tunetrail/before: ") and "run `make experiment` again" in line


def test_doctor_starts_without_torch(root) -> None:
    code = "import sys; from stages.commands.doctor.command import doctor; doctor(False); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(compose.ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=environment).returncode == 0


def test_find_changes_nothing_and_returns_findings(root) -> None:
    old(root / f"data/.a.{DEAD}.part")
    before = files(root)
    assert [finding.severity for finding in find(Path()) if finding.severity != "info"] == ["warning"]
    assert files(root) == before


def test_what_a_running_experiment_holds_is_left_alone(root, capsys) -> None:
    old_folder(root / ".tunetrail/before")
    own = root / ".answers.jsonl.lock"
    for path in (own, locks.path_of(root / locks.EXPERIMENT)):
        path.parent.mkdir(exist_ok=True)
    with own.open("w") as one, locks.path_of(root / locks.EXPERIMENT).open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)
        assert printed(capsys, fix=True) == ["nothing to fix"]
    assert (root / ".tunetrail/before").exists() and own.exists()
