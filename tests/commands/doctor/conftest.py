"""A repository in which nothing is wrong."""

import subprocess
from pathlib import Path

import pytest

from stages.params import compose


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A repository in which nothing is wrong."""
    monkeypatch.setenv("TUNETRAIL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repository"
    (folder / ".dvc/tmp/exps").mkdir(parents=True)
    compose.compose([], folder / "params.yaml")
    committed = ["git", "show", "HEAD:dvc.lock"]  # the workspace may hold that of an experiment
    lock = subprocess.run(committed, cwd=compose.ROOT, check=True, capture_output=True)
    (folder / "dvc.lock").write_bytes(lock.stdout)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (["init", "--quiet"], ["add", "params.yaml", "dvc.lock"], ["commit", "--quiet", "-m", "a run"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder
