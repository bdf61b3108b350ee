"""Rows under data/own, tracked as the guide to own data says, survive DVC's own commands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from stages.params import compose

pytestmark = pytest.mark.e2e


def test_rows_added_to_dvc_survive_checkout_and_gc(tmp_path: Path) -> None:
    root, rows = tmp_path / "clone", "question,answer\nWhy?,So.\n"
    subprocess.run(["git", "clone", "--quiet", compose.ROOT, root], check=True)
    shutil.copy(compose.ROOT / ".gitignore", root)
    own = root / "data/own/mine.csv"
    own.parent.mkdir(parents=True)
    own.write_text(rows, encoding="utf-8")

    def dvc(*arguments: str) -> None:
        done = subprocess.run(["dvc", *arguments], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    dvc("add", "data/own/mine.csv")
    dvc("checkout", "--allow-missing")
    assert own.read_text(encoding="utf-8") == rows
    dvc("gc", "--workspace", "--force")
    own.unlink()
    dvc("checkout", "--allow-missing")
    assert own.read_text(encoding="utf-8") == rows
    kept = subprocess.run(["git", "status", "--porcelain", "data"], cwd=root, capture_output=True, text=True).stdout
    assert kept == "?? data/own/\n"
