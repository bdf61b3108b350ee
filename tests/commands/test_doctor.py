"""tunetrail doctor: what it finds, what it repairs, and what it leaves alone."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stages import params
from stages.commands import doctor
from stages.errors import DataError
from stages.models.manifest import MANIFEST
from stages.params import compose

DEAD = 2**22 - 1  # above what Linux gives to a process by default


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A repository in which nothing is wrong."""
    monkeypatch.setenv("TUNETRAIL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repository"
    (folder / ".dvc/tmp/exps").mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(compose.ROOT / name, folder / name)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (["init", "--quiet"], ["add", "params.yaml", "dvc.lock"], ["commit", "--quiet", "-m", "a run"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


def printed(capsys, fix: bool = False) -> list[str]:
    try:
        doctor.doctor(fix)
    except DataError as error:
        return [*capsys.readouterr().out.splitlines(), str(error)]
    return capsys.readouterr().out.splitlines()


def test_nothing_wrong_is_reported_as_nothing(root, capsys) -> None:
    assert printed(capsys) == ["nothing to fix"]


def old(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    os.utime(path, (time.time() - 2 * doctor.OLD,) * 2)
    return path


def lock(pid: int) -> str:
    return json.dumps({"read": {"/data": [{"pid": pid, "cmd": "dvc repro"}]}, "write": {}})


LEFT = {
    "empty lock": (".dvc/tmp/rwlock", "", "error"),
    "cut lock": (".dvc/tmp/exps/rwlock", '{"read": {', "error"),
    "lock of a dead process": (".dvc/tmp/rwlock", lock(DEAD), "warning"),
    "damaged answer": (".tunetrail/responses/a.json", '[{"text"', "error"),
    "half-written file": (f"data/.tasks.jsonl.{DEAD}.part", "x", "warning"),
    "half-written output": (".out.jsonl.0123456789ab.part", "x", "warning"),
}


@pytest.mark.parametrize(("name", "content", "severity"), LEFT.values(), ids=LEFT)
def test_what_a_kill_leaves_is_named_and_deleted_by_fix(root, capsys, name, content, severity) -> None:
    path = old(root / name, content)
    found = printed(capsys)
    assert found[0].startswith(f"{severity}: {name}: ") and path.exists()
    assert ("1 of these errors remain" in found[-1]) == (severity == "error")
    assert printed(capsys, fix=True)[0].startswith(f"fixed: {name}: ")
    assert not path.exists() and printed(capsys) == ["nothing to fix"]


def test_what_a_living_process_holds_is_left_alone(root, capsys) -> None:
    old(root / ".dvc/tmp/rwlock", lock(os.getpid()))
    old(root / f"models/42/.adapter.{os.getpid()}.part")
    (root / ".new.jsonl.0123456789ab.part").write_text("being written", encoding="utf-8")
    assert printed(capsys, fix=True) == ["nothing to fix"]


@pytest.mark.parametrize("cut", ["schema: '2.0'\nstages:\n  fetch:\n    cmd: python\n    deps: [{path", "stages: 7\n", "\0"])
def test_damaged_dvc_lock_is_restored_from_git(root, capsys, cut) -> None:
    good = (root / "dvc.lock").read_bytes()
    (root / "dvc.lock").write_text(cut, encoding="utf-8")
    assert printed(capsys)[0].startswith("error: dvc.lock: damaged")
    assert printed(capsys, fix=True)[0].startswith("fixed: dvc.lock: damaged")
    assert (root / "dvc.lock").read_bytes() == good
    (kept,) = (root / ".tunetrail/broken").iterdir()
    assert kept.read_text(encoding="utf-8") == cut


def test_weights_that_differ_are_fetched_again(root, capsys, manifest, weights) -> None:
    folder = root.parent / "cache" / weights.name
    shutil.copytree(weights, folder)
    (root / MANIFEST).parent.mkdir()
    (root / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    assert printed(capsys) == ["nothing to fix"]
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert "is not" not in printed(capsys)[0] and "not the file that models/base.json pins" in printed(capsys)[0]
    printed(capsys, fix=True)
    assert not folder.exists() and printed(capsys) == ["nothing to fix"]


def test_wrong_parameters_are_left_to_validate(root, capsys) -> None:
    (root / "params.yaml").write_text("seed: 42\n", encoding="utf-8")
    (line,) = printed(capsys, fix=True)
    assert line.startswith("warning: params.yaml: ") and "python -m stages.validate" in line


def test_other_versions_than_pinned_are_counted(root, capsys) -> None:
    (root / "requirements.lock").write_text("pytest==0.0.1\nno-such-package==1.0\n", encoding="utf-8")
    (line,) = printed(capsys)
    assert "2 of 2 packages differ: pytest " in line and "no-such-package missing instead of 1.0" in line


def test_missing_room_and_keys_are_warned_of(root, capsys, monkeypatch, manifest) -> None:
    large = manifest.model_copy(update={"parameters": 10**15})
    (root / MANIFEST).parent.mkdir()
    (root / MANIFEST).write_text(large.model_dump_json(), encoding="utf-8")
    monkeypatch.delenv("A_KEY", raising=False)
    compose.compose(["teacher=openai", "teacher.model=m", "teacher.api_key_env=A_KEY"], params.PARAMS)
    report = "\n".join(printed(capsys))
    assert all(text in report for text in ("GiB of disk", "GiB of memory", "teacher.api_key_env = A_KEY"))
