"""deploy/slurm.sh with a stand-in for `dvc` that writes down its calls, and the commands of deploy/skypilot.yaml."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[1] / "deploy"


@pytest.fixture
def submitted(tmp_path):
    """Return what runs the script as job 7 of a small repository, and the folder that every node sees."""
    origin, shared = tmp_path / "origin", tmp_path / "shared"
    (origin / ".venv/bin").mkdir(parents=True)
    (origin / "params.yaml").write_text("name: letters\n")
    dvc = origin / ".venv/bin/dvc"
    dvc.write_text(f'#!/bin/sh\necho "$PWD $*" >> {tmp_path}/calls\n')
    dvc.chmod(0o755)
    for command in ("init -q --template=", "add params.yaml", "-c user.name=t -c user.email=t@localhost commit -qm one"):
        subprocess.run(["git", *command.split()], cwd=origin, check=True, capture_output=True)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(origin), "SLURM_JOB_ID": "7", **environment}
        return subprocess.run(["bash", DEPLOY / "slurm.sh", *arguments], env=given, capture_output=True, text=True)

    return run, shared


def test_a_job_runs_in_its_clone_and_continues_there(submitted, tmp_path):
    run, shared = submitted
    assert run("lora.r=16", "seed=2", TUNETRAIL_SHARED=str(shared)).returncode == 0
    clone = shared / "jobs/7"
    (clone / "unfinished").touch()
    assert run("lora.r=16", "seed=2", TUNETRAIL_SHARED=str(shared)).returncode == 0  # requeued
    assert (clone / "unfinished").exists()
    once = [
        f"{clone} cache dir --local {shared}/dvc-cache",
        f"{clone} exp run --name job-7 -S lora.r=16 -S seed=2",
        f"{clone} exp push --no-cache origin job-7",
    ]
    assert (tmp_path / "calls").read_text().splitlines() == once * 2


def test_a_job_without_a_shared_folder_says_what_to_set(submitted, tmp_path):
    ended = submitted[0]("lora.r=16")
    assert ended.returncode != 0 and "TUNETRAIL_SHARED: set it to a folder that every node sees" in ended.stderr
    assert not (tmp_path / "calls").exists()


def test_the_task_of_skypilot_names_what_exists():
    task = YAML(typ="safe").load(DEPLOY / "skypilot.yaml")
    assert (DEPLOY.parent / f"conf/experiment/{task['envs']['EXPERIMENT']}.yaml").is_file()
    for part in ("setup", "run"):
        assert subprocess.run(["bash", "-n"], input=task[part], text=True).returncode == 0
    assert set(re.findall(r"/survives\b", task["run"])) <= task["file_mounts"].keys()
