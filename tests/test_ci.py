"""The shell parts of the pull request's workflow, run as the workflow runs them, with stand-ins for what needs a network."""

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
    """Runs a script of .ci/ in a folder where the named commands are the given shell lines."""
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


def test_the_workflow_runs_scripts_only_and_takes_nothing_from_others_into_a_shell_line() -> None:
    lines = [step["run"] for step in STEPS if "run" in step]
    assert lines and not [line for line in lines if "${{" in line or "\n" in line]
    assert not [line for line in lines if line.startswith("bash") and not (ROOT / line.split()[1]).is_file()]


def test_the_workflow_has_the_whole_history_and_may_write_nothing_but_the_comment() -> None:
    assert all(step["with"]["fetch-depth"] == 0 for step in STEPS if step.get("uses", "").startswith("actions/checkout"))
    assert WORKFLOW["permissions"] == {"contents": "read", "pull-requests": "write"}


def test_the_comparison_goes_into_the_summary_and_one_comment_that_is_edited(ci, tmp_path) -> None:
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


def test_a_fork_whose_token_may_not_comment_fails_nothing(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/main", "7", tunetrail=PAGE, gh="exit 1")
    assert done.returncode == 0
    assert "the comparison stands in the step summary" in done.stdout
    assert "# Better" in (tmp_path / "summary").read_text()


def test_a_failing_gate_fails_the_job_after_page_and_reason_are_posted(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/main", "7", tunetrail=f'{PAGE}; echo "error: --gate: exact fell" >&2; exit 1', gh=GH)
    assert done.returncode == 1
    for posted in ((tmp_path / "summary").read_text(), (tmp_path / "comment.md").read_text()):
        assert "error: --gate: exact fell" in posted and "# Better" in posted


def test_a_comparison_that_cannot_be_made_is_told_in_the_summary(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/mian", tunetrail='echo "error: origin/mian: unknown revision" >&2; exit 1')
    assert done.returncode == 1 and "unknown revision" in done.stderr
    assert "unknown revision" in (tmp_path / "summary").read_text()


def test_the_real_command_stands_behind_the_script(ci) -> None:
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
def test_sync_fails_where_dvc_would_run_something_or_says_nothing(ci, dvc, agrees) -> None:
    done = ci("sync.sh", tunetrail="exit 0", dvc=dvc, git=CLONE)
    assert (done.returncode == 0) == agrees
    assert agrees or "run it again and commit" in done.stderr


def test_sync_fails_where_conf_composes_something_else(ci) -> None:
    assert ci("sync.sh", tunetrail="echo 'error: params.yaml: lora.r = 8' >&2; exit 1", dvc="exit 0", git=CLONE).returncode == 1


def test_smoke_runs_the_experiment_in_a_clone_and_leaves_the_checkout_alone(ci, tmp_path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    where = tmp_path / "where"
    done = ci("smoke.sh", dvc=f'pwd > {where}; echo "$@" >> {where}; touch made', tunetrail="exit 0")
    assert done.returncode == 0, done.stderr
    clone, asked = where.read_text().splitlines()
    assert asked == "exp run -S experiment=smoke"
    assert Path(clone) != tmp_path and not Path(clone).exists() and not (tmp_path / "made").exists()
