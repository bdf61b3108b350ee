"""The committed dvc.lock, parameters, code and report of the default run agree; checked in a clean clone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import params

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone the last commit, without data and without changes of the working tree."""
    folder = tmp_path_factory.mktemp("lock") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def test_committed_lock_is_current(clone: Path) -> None:
    """Check both output and status: on stale code, `dvc repro` can fail and print nothing."""
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing"]
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    run = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    printed = run.stdout + run.stderr
    assert [line for line in printed.splitlines() if "Running stage" in line] == []
    assert run.returncode == 0, printed


def test_report_was_made_from_the_locked_predictions(clone: Path) -> None:
    lock: dict[str, Any] = YAML(typ="safe", pure=True).load((clone / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    locked = {
        Path(out["path"]).stem: out["md5"]
        for name, stage in lock.items()
        if name.startswith("predict_")
        for out in stage["outs"]
        if out["path"].startswith("data/predictions/")
    }
    p = params.check(params.load(clone / params.PARAMS))
    systems = {f"base_{shots}shot" for shots in p.predict.shots} | {f"tuned_{seed}" for seed in p.seeds}
    reported = json.loads((clone / "reports" / p.name / "cost.json").read_text(encoding="utf-8"))["predictions_md5"]
    assert reported == {system: locked.get(system) for system in systems}
