"""The real pipeline on a tiny model, with real dvc in a clone of this repository: what runs, what is skipped or refused.

One clone runs the smoke experiment. Every test then works in its own copy of it, so that tests do not depend on each other.
"""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.network import Blocker

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
SMOKE = ("exp", "run", "-S", "experiment=smoke")
ROOMS = {"validate", "fetch", "synthesize", "replay", "format", "train", "evaluate", "report"}
STAGES = ROOMS | {"predict_base", "predict_passage", "predict_tuned", "retention_base", "retention_tuned"}


@dataclass(frozen=True)
class Outcome:
    """The status and output of a dvc command, and the stages that it ran."""

    status: int
    text: str

    @property
    def ran(self) -> set[str]:
        return set(re.findall(r"Running stage '([^'@]+)", self.text))


@dataclass(frozen=True)
class Clone:
    """A repository with its own weights cache, in which no command can reach a network."""

    root: Path
    cache: Path
    blocker: Blocker

    def dvc(self, *arguments: str) -> Outcome:
        run = self._run(sys.executable, "-m", "dvc", *arguments)
        return Outcome(run.returncode, run.stdout + run.stderr)

    def git(self, *arguments: str) -> str:
        run = self._run("git", "-c", "commit.gpgsign=false", *arguments)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def copied(self, root: Path) -> "Clone":
        return Clone(shutil.copytree(self.root, root), self.cache, self.blocker)

    def json(self, path: str) -> dict:
        return json.loads((self.root / path).read_text(encoding="utf-8"))

    def files(self, folder: str) -> dict[str, bytes]:
        base = self.root / folder
        return {str(path.relative_to(base)): path.read_bytes() for path in sorted(base.rglob("*")) if path.is_file()}

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        own = self.cache.parent
        environment = self.blocker.environment() | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TUNETRAIL_CACHE": str(self.cache),
            "DVC_GLOBAL_CONFIG_DIR": str(own / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(own / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(own / "dvc-site"),
            **{f"GIT_{who}_{what}": "e2e@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)


def listed() -> list[str]:
    """Return the paths of this working tree that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in run.stdout.split("\0") if path]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """The committed history with this working tree, uncommitted edits too, as its last commit."""
    folder = tmp_path_factory.mktemp("e2e")
    root = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(root)], check=True, capture_output=True)
    for path in listed():
        if (ROOT / path).is_file():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, root / path)
    made = Clone(root, folder / "cache", Blocker(folder / "blocker"))
    made.git("config", "user.name", "e2e")
    made.git("config", "user.email", "e2e@localhost")
    made.commit("the working tree under test")
    return made


@pytest.fixture(scope="module")
def first(clone) -> Outcome:
    """The first run in the clone."""
    return clone.dvc(*SMOKE)


@pytest.fixture
def smoked(clone, first, tmp_path) -> Clone:
    """A copy, at another path, of the clone in which the smoke experiment has run."""
    assert first.status == 0, first.text
    return clone.copied(tmp_path / "copy")


def test_smoke_runs_every_stage_and_reports_all_systems(clone, first):
    assert first.status == 0, first.text
    assert first.ran == STAGES
    metrics = clone.json("reports/smoke/details.json")
    for system in ("base_0shot", "base_1shot", "tuned"):
        assert metrics[system]["n"] == 12
        assert 0 <= metrics[system]["json_valid_lo"] <= metrics[system]["json_valid"] <= metrics[system]["json_valid_hi"] <= 1
    made = clone.files("reports/smoke")
    assert {"cost.json", "index.html", "items.jsonl", "metrics.json", "report.md"} <= set(made)
    assert len(made["items.jsonl"].splitlines()) == 12
    assert b"<html" in made["index.html"]


def test_smoke_experiment_asks_no_other_machine(clone, first):
    assert first.status == 0, first.text
    assert clone.blocker.attempts() == []


def test_second_run_runs_nothing_even_at_another_path(smoked):
    before = smoked.files("reports/smoke")
    again = smoked.dvc(*SMOKE)
    assert (again.status, again.ran) == (0, set()), again.text
    assert smoked.files("reports/smoke") == before


def test_another_rank_runs_only_stages_from_training_on(smoked):
    before, answers = smoked.files("models/42/adapter"), smoked.files("data/predictions")
    changed = smoked.dvc(*SMOKE, "-S", "lora.r=4")
    assert changed.status == 0, changed.text
    evaluated = {"evaluate"} if smoked.files("data/predictions") != answers else set()
    assert changed.ran == {"validate", "train", "predict_tuned", "retention_tuned", "report"} | evaluated
    after = smoked.files("models/42/adapter")
    assert json.loads(after["adapter_config.json"])["r"] == 4
    assert len(after["adapter_model.safetensors"]) < len(before["adapter_model.safetensors"])


def test_sweep_shows_each_value_and_diffs_name_the_change(smoked):
    smoked.commit("the run to compare with")
    queued = smoked.dvc(*SMOKE, "--queue", "-S", "lora.r=4,6")
    assert queued.status == 0, queued.text
    started = smoked.dvc("exp", "run", "--run-all", "--jobs", "1")
    assert started.status == 0, started.text
    shown = smoked.dvc("exp", "show", "--csv", "--no-pager")
    rows = [
        row for row in csv.DictReader(io.StringIO(shown.text[shown.text.index("Experiment,") :])) if row["State"] == "Success"
    ]
    assert sorted(row["lora.r"] for row in rows) == ["4", "6"]
    assert all(row["tuned.json_valid"] != "" for row in rows)

    applied = smoked.dvc("exp", "apply", rows[0]["Experiment"])
    assert applied.status == 0, applied.text
    assert ["params.yaml", "lora.r", "8", rows[0]["lora.r"]] in [
        line.split() for line in smoked.dvc("params", "diff").text.splitlines()
    ]
    metrics = smoked.dvc("metrics", "diff", "--all")
    assert metrics.status == 0 and "tuned.json_valid" in metrics.text and "retention.tuned.bits_per_byte" in metrics.text
    plots = smoked.dvc("plots", "diff", "--out", "plots")
    assert plots.status == 0 and (smoked.root / "plots/index.html").is_file(), plots.text


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("lora.r=abc", "lora.r"),
        ("lora.rr=8", "rr"),
        ("+new.key=1", "new"),
        ("lora.r=-1", "lora.r"),
        ("lora=nope", "lora/nope"),
        ("adapter=full", "adapter.type = full"),
    ],
)
def test_wrong_override_is_refused_before_anything_runs(smoked, override, named):
    status, outputs = smoked.git("status", "--porcelain"), smoked.files("reports/smoke")
    composed = (smoked.root / "params.yaml").read_bytes()
    refused = smoked.dvc(*SMOKE, "-S", override)
    assert refused.status != 0
    assert named in refused.text
    assert refused.ran == set()
    assert smoked.git("status", "--porcelain") == status
    assert (smoked.root / "params.yaml").read_bytes() == composed
    assert smoked.files("reports/smoke") == outputs


def test_wrong_edit_fails_in_validate_and_keeps_outputs(smoked):
    params = smoked.root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    edited = text.replace("\n  r: 8\n", "\n  r: abc\n").replace("\n  weight_decay:", "\n  weight_decoy:")
    assert edited.count("abc") == edited.count("weight_decoy") == 1
    params.write_text(edited, encoding="utf-8")
    before = {folder: smoked.files(folder) for folder in ("models", "reports/smoke", "data/predictions")}
    refused = smoked.dvc("repro")
    assert refused.status != 0
    assert refused.ran == {"validate"}
    assert "params.yaml: lora.r = 'abc'" in refused.text
    assert "params.yaml: train.weight_decoy" in refused.text and "did you mean weight_decay?" in refused.text
    assert {folder: smoked.files(folder) for folder in before} == before


def test_stale_prediction_of_another_seed_changes_no_number(smoked):
    mine = smoked.root / "data/predictions/tuned_42.jsonl"
    mine.with_name("tuned_43.jsonl").write_text(mine.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    before = smoked.files("reports/smoke")
    run = smoked.dvc("repro")
    assert run.status == 0, run.text
    assert {"evaluate"} <= run.ran <= {"evaluate", "report"}
    assert "tuned_43.jsonl is left over" in run.text
    after = smoked.files("reports/smoke")
    assert after["metrics.json"] == before["metrics.json"]
    assert after["items.jsonl"] == before["items.jsonl"]


MINE = """\
# My questions about capitals:  dvc exp run -S data=mine -S synthesis=none -S name=mine
defaults: [rows]
path: data/authored/mine.csv
task: text
system: Answer in one word.
columns: {instruction: instruction, input: input, output: output}
valid: 0.2
test: 0.3
"""


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="there is a GPU")
def test_missing_gpu_is_reported_before_anything_runs(smoked):
    refused = smoked.dvc(*SMOKE, "-f", "-S", "runtime=cuda")
    assert refused.status != 0
    assert refused.ran == {"validate"}
    assert "error: runtime.device = cuda: " in refused.text and refused.text.rstrip().count("set runtime=cpu") == 1


def test_missing_rows_fail_in_validate_by_parameter(smoked):
    (smoked.root / "conf/data/mine.yaml").write_text(MINE, encoding="utf-8")
    before = {folder: smoked.files(folder) for folder in ("models", "reports/smoke", "data/predictions")}
    refused = smoked.dvc(*SMOKE, "-S", "data=mine", "-S", "synthesis=none", "-S", "report.headline=token_f1")
    assert refused.status != 0
    assert refused.ran == {"validate"}
    assert "error: data.path: data/authored/mine.csv: no such file or folder; set data.path" in refused.text
    assert {folder: smoked.files(folder) for folder in before} == before


def test_rows_from_a_csv_go_through_the_whole_pipeline(smoked):
    (smoked.root / "conf/data/mine.yaml").write_text(MINE, encoding="utf-8")
    rows = [f'What is meant?,"word {i}, ""number {i}""",answer {i}' for i in range(30)]
    table = "\n".join(["instruction,input,output", *rows, ""])
    (smoked.root / "data/authored/mine.csv").write_text(table, encoding="utf-8")
    choice = ("data=mine", "synthesis=none", "name=mine", "report.headline=token_f1", "train.max_steps=2")
    run = smoked.dvc(*SMOKE, *(word for override in choice for word in ("-S", override)))
    assert run.status == 0, run.text
    metrics, audit = smoked.json("reports/mine/details.json"), smoked.json("data/formatted/audit.json")
    assert metrics["tuned"]["n"] == audit["splits"]["test"]["rows"] > 0
    for system in ("base_0shot", "base_1shot", "tuned"):
        for metric in ("exact_match", "token_f1", "stop_rate"):
            assert 0 <= metrics[system][metric] <= 1
    assert "json_valid" not in metrics["tuned"]
    shots = len((smoked.root / "data/formatted/shots.jsonl").read_text(encoding="utf-8").splitlines())
    assert shots + sum(split["rows"] for split in audit["splits"].values()) + sum(audit["overlap"].values()) == 30
    assert audit["origin"] == {"authored": audit["splits"]["train"]["rows"] + sum(audit["overlap"].values()), "none": 0}
    shown = (smoked.root / "data/formatted/trained_on.txt").read_text(encoding="utf-8")
    assert re.search(
        r'What is meant\?\nword (\d+), "number \1"<\|im_end\|>\n<\|im_start\|>assistant\n⟦answer \1<\|im_end\|>⟧', shown
    )


def test_second_clone_restores_the_run_without_running(smoked, tmp_path):
    named = smoked.dvc(*SMOKE, "-S", "name=shared")  # reports/smoke alone is not in git
    assert (named.status, named.ran) == (0, {"validate", "report"}), named.text
    assert smoked.dvc("remote", "add", "--default", "store", str(tmp_path / "store")).status == 0
    smoked.commit("a run to share")
    pushed = smoked.dvc("push")
    assert pushed.status == 0, pushed.text

    smoked.git("clone", "--quiet", str(smoked.root), str(tmp_path / "second"))
    second = Clone(tmp_path / "second", tmp_path / "no-weights", Blocker(tmp_path / "second-blocker"))
    assert [path.name for path in (second.root / "models").iterdir()] == ["README.md"]
    pulled = second.dvc("pull")
    assert pulled.status == 0, pulled.text
    assert second.files("models/42/adapter") == smoked.files("models/42/adapter")
    again = second.dvc("repro")
    assert (again.status, again.ran) == (0, set()), again.text
    assert second.git("status", "--porcelain") == ""
    assert not (tmp_path / "no-weights").exists()
