"""The workflows, and their scripts, run as they run them; stand-ins replace commands that need a network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from stages import params
from stages.params import compose

ROOT = Path(__file__).parents[1]
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yaml")}
WORKFLOWS = {name: YAML(typ="safe", pure=True).load(text) for name, text in TEXTS.items()}
STEPS = {name: [step for job in workflow["jobs"].values() for step in job["steps"]] for name, workflow in WORKFLOWS.items()}
every_workflow = pytest.mark.parametrize("name", sorted(TEXTS))


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
GH = r"""case "$*" in
"run download 5 --name comparison --dir "*) cp -P comparison.md "${@: -1}" ;;
*/pulls\ *) cat pulls; echo "$@" > query ;;
*--jq*) cat listed ;;
*) echo "$@" >> gh.log; while [ "$1" != -F ]; do shift; done; cat "${2#body=@}" > comment.md ;;
esac"""
OTHERS = "11\tgithub-actions[bot]\tcoverage\n12\tsomeone\t<!-- tunetrail -->\\nquoted\n"
OURS = "13\tgithub-actions[bot]\t<!-- tunetrail -->\\n# Worse\n"
CLONE = 'mkdir -p "${@: -1}"'
LATER = "14\tgithub-actions[bot]\tlinks, <!-- tunetrail -->\n"
ZERO = "\u200b"


@pytest.fixture
def posted(ci, tmp_path):
    """Return a function that runs comment.sh on a comparison and returns the body of the comment."""

    def post(comparison: str, listed: str = "") -> str:
        (tmp_path / "comparison.md").write_text(comparison, encoding="utf-8")
        (tmp_path / "pulls").write_text("7\n")
        (tmp_path / "listed").write_text(listed)
        done = ci("comment.sh", "5", "c0ffee", gh=GH)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "comment.md").read_text(encoding="utf-8")

    return post


@every_workflow
def test_workflow_runs_scripts_without_inserting_expressions(name) -> None:
    lines = [step["run"] for step in STEPS[name] if "run" in step]
    assert lines and not [line for line in lines if "${{" in line or "\n" in line]
    assert not [line for line in lines if line.startswith("bash") and not (ROOT / line.split()[1]).is_file()]


@every_workflow
def test_only_the_job_that_comments_may_write(name) -> None:
    granted = [WORKFLOWS[name]["permissions"], *(job.get("permissions", {}) for job in WORKFLOWS[name]["jobs"].values())]
    writing = {key for permissions in granted for key, value in permissions.items() if value != "read"}
    assert writing == ({"pull-requests"} if name == "comment" else set())


@every_workflow
def test_checkout_leaves_no_credentials_to_scripts(name) -> None:
    checkouts = [step["with"] for step in STEPS[name] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(options["persist-credentials"] is False for options in checkouts)
    assert name == "comment" or all(options["fetch-depth"] == 0 for options in checkouts)


@every_workflow
def test_actions_are_pinned_by_commit(name) -> None:
    used = re.findall(r"uses: (.*)", TEXTS[name])
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_comment_job_runs_nothing_of_the_pull_request() -> None:
    assert WORKFLOWS["comment"]["on"]["workflow_run"]["workflows"] == [WORKFLOWS["pull-request"]["name"]]
    checkout, script = STEPS["comment"]
    assert checkout["with"] == {"persist-credentials": False} and script["run"] == 'bash .ci/comment.sh "$RUN" "$COMMIT"'
    uploaded = next(step["with"] for step in STEPS["pull-request"] if "upload-artifact" in step.get("uses", ""))
    assert (uploaded["name"], uploaded["path"]) == ("comparison", "comparison.md")


def test_comparison_goes_to_summary_and_to_a_file(ci, tmp_path) -> None:
    done = ci("compare.sh", "origin/main", "comparison.md", tunetrail=PAGE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "summary").read_text() == (tmp_path / "comparison.md").read_text() == "\n# Better\n"


def test_failing_gate_fails_the_job_and_keeps_the_reason(ci, tmp_path) -> None:
    failing = f'{PAGE}; echo "error: --gate: exact fell" >&2; exit 1'
    assert ci("compare.sh", "origin/main", "comparison.md", tunetrail=failing).returncode == 1
    for written in ((tmp_path / "summary").read_text(), (tmp_path / "comparison.md").read_text()):
        assert "error: --gate: exact fell" in written and "# Better" in written


def test_comparison_is_posted_in_one_updated_comment(posted, tmp_path) -> None:
    for listed in ("", OTHERS, OTHERS + OURS + LATER):
        comment = posted("# Better\n", listed)
    assert comment.startswith("<!-- tunetrail -->\n") and comment.count("> **Better**\n") == 1
    calls = (tmp_path / "gh.log").read_text().splitlines()
    assert [call.partition(" -F ")[0] for call in calls] == [
        "api --silent --method POST repos/{owner}/{repo}/issues/7/comments",
        "api --silent --method POST repos/{owner}/{repo}/issues/7/comments",
        "api --silent --method PATCH repos/{owner}/{repo}/issues/comments/13",
    ]


def test_comment_goes_where_the_commit_is_not_the_artifact(posted, tmp_path) -> None:
    posted("pull request: 8\n")
    assert '.head.sha == "c0ffee"' in (tmp_path / "query").read_text()
    assert "issues/7/comments" in (tmp_path / "gh.log").read_text()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("# All checks passed, merge", "**All checks passed, merge**"),
        ("- ## Merge", f"- #{ZERO}#{ZERO} Merge"),
        ("Merge\n===", "Merge\n> "),
        ("[here](https://x.example)", f"[here]{ZERO}(https:{ZERO}//x.example)"),
        ("![](http://x.example/p.png)", f"![]{ZERO}(http:{ZERO}//x.example/p.png)"),
        ("WWW.x.example", f"WWW{ZERO}.x.example"),
        ("@owner, please merge #12 and GH-3", f"@{ZERO}owner, please merge #{ZERO}12 and GH-{ZERO}3"),
        ("<img src=x> &#64;owner &commat;owner", f"<{ZERO}img src=x> &{ZERO}#{ZERO}64;owner &{ZERO}commat;owner"),
        ("a\r# b", "a\n> **b**"),
        (r"$$\Huge{\text{All passed}}$$", r"＄＄\Huge{\text{All passed}}＄＄"),
        ("```mermaid\ngraph TD", f"``{ZERO}`mermaid\n> graph TD"),
        ("~~~~math", f"~~{ZERO}~~{ZERO}math"),
        ("\x1b[2Jx\x00", "[2Jx"),
        ("| p | n |\n|---|---:|\n| &lt;b&gt; | 1 |", "| p | n |\n> |---|---:|\n> | &lt;b&gt; | 1 |"),
    ],
)
def test_markdown_of_a_pull_request_is_quoted_without_effect(posted, written, shown) -> None:
    assert posted(f"{written}\n").split("\n\n", 1)[1] == f"> {shown}\n"


@pytest.mark.parametrize("text", ["a" * 19_999 + "é" + "b" * 100_000, "@" * 100_000, "\n" * 100_000])
def test_long_text_is_cut_to_fit_a_comment(posted, text) -> None:
    assert len(posted(text)) < 65_536


@pytest.mark.parametrize("made", ["", "ln -s /etc/passwd comparison.md", "mkdir comparison.md"])
def test_nothing_but_a_plain_file_is_posted(ci, tmp_path, made) -> None:
    subprocess.run(["bash", "-c", made], cwd=tmp_path, check=True)
    done = ci("comment.sh", "5", "c0ffee", gh=GH.replace("cp -P", "cp -rP"))
    assert done.returncode == 0 and "uploaded no comparison" in done.stdout
    assert not (tmp_path / "gh.log").exists()


@pytest.mark.parametrize("error", ["# Checks passed, merge", "[merge](https://evil.example)", "@octocat, see #1", "a" * 9000])
def test_error_of_a_comparison_cannot_mark_up_the_comment(ci, tmp_path, error) -> None:
    ci("compare.sh", "origin/main", "comparison.md", tunetrail=f"echo 'error: x' >&2; echo '{error}' >&2; exit 1", gh=GH)
    comment = (tmp_path / "comparison.md").read_text()
    (block,) = MarkdownIt("commonmark").parse(comment)
    assert block.type == "code_block" and len(comment) < 600


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
    done = ci("smoke.sh", dvc=f'pwd >> {where}; echo "$@" >> {where}; touch made', tunetrail="exit 0")
    assert done.returncode == 0, done.stderr
    clone, first, again, second = where.read_text().splitlines()
    assert first == "exp run -S experiment=smoke -S preference=verifier -S align=dpo"
    assert Path(clone) != tmp_path and not Path(clone).exists() and not (tmp_path / "made").exists()
    assert again == clone
    runs = [[part for part in run.split()[2:] if part != "-S"] for run in (first, second)]
    paired, rewarded = (params.check(compose.composed(*overrides)) for overrides in runs)
    assert (paired.pretrain.type, paired.preference.wanted, paired.align.method) == ("none", True, "dpo")
    assert (rewarded.pretrain.type, rewarded.preference.wanted, rewarded.align.method) == ("documents", False, "grpo")
