"""A repository in which nothing is wrong."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.params import compose
from tests.fixtures.repairs import committed_lock

KEPT = ("validate", "train@42", "report")  # of dvc.lock: each check reads it, and reading all takes a fifth of a second


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which nothing is wrong, to copy."""
    folder = tmp_path_factory.mktemp("sound") / "repository"
    (folder / ".dvc/tmp/exps").mkdir(parents=True)
    compose.compose([], folder / "params.yaml")
    head, *stages = re.split(r"^(?=  \S)", committed_lock(), flags=re.MULTILINE)
    lock = [stage for stage in stages if stage.split(":")[0].strip() in KEPT]
    assert len(lock) == len(KEPT)
    (folder / "dvc.lock").write_text(head + "".join(lock), encoding="utf-8")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (
        ["init", "--quiet", "--template="],
        ["add", "params.yaml", "dvc.lock"],
        ["commit", "--quiet", "-m", "a run"],
    ):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture
def root(sound, tmp_path, monkeypatch) -> Path:
    """A repository in which nothing is wrong, the current folder."""
    monkeypatch.setenv("TUNETRAIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(shutil.copytree(sound, tmp_path / "repository"))
    return tmp_path / "repository"
