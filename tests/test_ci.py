"""The scripts of the pull-request workflow, run as the workflow runs them; stand-ins replace commands that need a network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
WORKFLOW = YAML(typ="safe", pure=True).load((ROOT / ".github/workflows/pull-request.yaml").read_text(encoding="utf-8"))
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


@pytest.fixture
def ci(tmp_path):
    """Return a function that runs a script of .ci/ in a folder, with the named commands replaced by shell lines."""
    commands = tmp_path / "bin"
    commands.mkdir()

    def run(script: str, *arguments: str, **stand_ins: str) -> subprocess.CompletedProcess[str]:
        for name, line in stand_ins.items():
            (commands / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
            (commands / name).chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        }
        return subprocess.run(
            ["bash", str(ROOT / ".ci" / script), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


PAGE = 'while [ "$1" != --output ]; do shift; done; echo "# Better" > "$2"'
GH = """case "$*" in *--jq*) cat listed 2>/dev/null; exit 0 ;; esac
echo "$@" >> gh.log; while [ "$1" != -F ]; do shift; done; cat "${2#body=@}" > comment.md"""
OTHERS = "11\tgithub-actions[bot]\tcoverage\n12\tsomeone\t<!-- tunetrail -->\\nquoted\n"
OURS = "13\tgithub-actions[bot]\t<!-- tunetrail -->\\n# Worse\n"
CLONE = 'mkdir -p "${@: -1}"'
LATER = "14\tgithub-actions[bot]\tlinks, <!-- tunetrail -->\n"


def test_workflow_runs_scripts_without_inserting_expressions() -> None:
    lines = [step["run"] for step in STEPS if "run" in step]
    assert lines and not [line for line in lines if "${{" in line or "\n" in line]
    assert not [line for line in lines if line.startswith("bash") and not (ROOT / line.split()[1]).is_file()]


def test_workflow_has_full_history_and_may_write_only_comments() -> None:
    assert all(step["with"]["fetch-depth"] == 0 for step in STEPS if step.get("uses", "").startswith("actions/checkout"))
    assert WORKFLOW["permissions"] == {"contents": "read", "pull-requests": "write"}


def test_comparison_goes_to_summary_and_one_updated_comment(ci, tmp_path) -> None:
    for listed in ("", OTHERS, OTHERS + OURS + LATER):
        (tmp_path / "listed").write_text(listed)
        done = ci("compare.sh", "origin/main", "7", tunetrail=PAGE, gh=GH)
        assert done.returncode == 0, done.stderr
    assert "# Better" in (tmp_path / "summary").read_text()
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith("<!-- tunetrail -->\n") and comment.count("# Better") == 1
    calls = (tmp_path / "gh.log").read_text().splitlines()
    assert [call.partition(" -F ")[0] for call in calls] == [
        "api --silent --method POST repos/{owner}/{repo}/issues/7/comments",
        "api --silent --method POST repos/{owner}/{repo}/issues/7/comments",
        "api --silent --method PATCH repos/{owner}/{repo}/issues/comments/13",
    ]


def test_fork_without_permission_to_comment_passes(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/main", "7", tunetrail=PAGE, gh="exit 1")
    assert done.returncode == 0
    assert "the comparison is in the step summary" in done.stdout
    assert "# Better" in (tmp_path / "summary").read_text()


def test_failing_gate_fails_the_job_after_posting_the_reason(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/main", "7", tunetrail=f'{PAGE}; echo "error: --gate: exact fell" >&2; exit 1', gh=GH)
    assert done.returncode == 1
    for posted in ((tmp_path / "summary").read_text(), (tmp_path / "comment.md").read_text()):
        assert "error: --gate: exact fell" in posted and "# Better" in posted


def test_failed_comparison_is_reported_in_the_summary(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/mian", tunetrail='echo "error: origin/mian: unknown revision" >&2; exit 1')
    assert done.returncode == 1 and "unknown revision" in done.stderr
    assert "unknown revision" in (tmp_path / "summary").read_text()


def test_compare_script_calls_the_real_command(ci) -> None:
    command = f'PYTHONPATH={ROOT} exec {sys.executable} -m stages.cli "$@"'
    done = ci("compare.sh", "main", tunetrail=command)
    assert done.returncode == 1 and "not a git repository" in done.stderr


@pytest.mark.parametrize(
    ("dvc", "agrees"),
    [
        ("echo 'Stage validate is cached'", True),
        ("echo \"Running stage 'train@42':\"", False),
        ("exit 255", False),
    ],
)
def test_sync_fails_if_dvc_would_run_a_stage_or_fails(ci, dvc, agrees) -> None:
    done = ci("sync.sh", tunetrail="exit 0", dvc=dvc, git=CLONE)
    assert (done.returncode == 0) == agrees
    assert agrees or "run it again and commit" in done.stderr


def test_sync_fails_if_conf_composes_other_parameters(ci) -> None:
    assert ci("sync.sh", tunetrail="echo 'error: params.yaml: lora.r = 8' >&2; exit 1", dvc="exit 0", git=CLONE).returncode == 1


def test_smoke_runs_in_a_clone_and_leaves_the_checkout_alone(ci, tmp_path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    where = tmp_path / "where"
    done = ci("smoke.sh", dvc=f'pwd > {where}; echo "$@" >> {where}; touch made', tunetrail="exit 0")
    assert done.returncode == 0, done.stderr
    clone, arguments = where.read_text().splitlines()
    assert arguments == "exp run -S experiment=smoke"
    assert Path(clone) != tmp_path and not Path(clone).exists() and not (tmp_path / "made").exists()
