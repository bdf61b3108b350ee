"""One's own rows go through the whole pipeline, and those under data/own survive DVC's own commands."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.params import compose
from tests.fixtures.smoke import SMOKE, Clone, cloned
from tests.fixtures.ten_files import grown, shapes

pytestmark = pytest.mark.e2e

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


def test_shape_of_the_guide_runs_to_the_report(warmed: Clone) -> None:
    """Numbers as labels, which the experiment names."""
    (shape,) = [shape for shape in shapes() if shape.name == "mood"]
    root = warmed.root
    (root / shape.path).parent.mkdir(parents=True, exist_ok=True)
    (root / shape.path).write_text(grown(shape), encoding="utf-8")
    (root / "conf/experiment/mood.yaml").write_text(shape.experiment, encoding="utf-8")
    assert warmed.dvc("add", shape.path).status == 0
    run = warmed.dvc("exp", "run", "-S", "experiment=[smoke,mood]")
    assert run.status == 0, run.text
    report = (root / "reports/mood/report.md").read_text(encoding="utf-8")
    assert "The file of rows: recognised as text/label, reads text as input, label as output." in report
    metrics = warmed.json("reports/mood/details.json")
    assert metrics["tuned"]["n"] == len((root / "data/formatted/test.jsonl").read_text(encoding="utf-8").splitlines())
    for system in ("base_0shot", "base_1shot", "tuned"):
        for metric in ("accuracy", "logprob_accuracy", "stop_rate"):
            assert 0 <= metrics[system][metric] <= 1
    assert "json_valid" not in metrics["tuned"]
    audit, written = warmed.json("data/formatted/audit.json"), len(grown(shape).splitlines()) - 1
    shots = len((root / "data/formatted/shots.jsonl").read_text(encoding="utf-8").splitlines())
    assert shots + sum(split["rows"] for split in audit["splits"].values()) + sum(audit["overlap"].values()) == written
    assert audit["origin"] == {"authored": audit["splits"]["train"]["rows"] + sum(audit["overlap"].values()), "none": 0}
    assert "macro_f1" in metrics["totals"]["tuned_42"]
    shown = warmed.tunetrail("show", "valid", "-n", "1")
    assert re.search(r"<\|im_start\|>assistant\n +⟦(complaint|praise)<\|im_end\|>⟧\n", shown.text)


def test_rows_outside_git_are_named_in_a_folder_of_its_own(tmp_path: Path) -> None:
    copy = cloned(tmp_path)
    (copy.root / "conf/data/mine.yaml").write_text(MINE, encoding="utf-8")
    (copy.root / "data/authored/mine.csv").write_text("instruction,input,output\nSay.,Why?,So.\n", encoding="utf-8")
    refused = copy.dvc(*SMOKE, "--temp", "-S", "data=mine", "-S", "synthesis=none", "-S", "report.headline=token_f1")
    assert refused.status != 0
    assert "error: data.path: data/authored/mine.csv: is not in git" in refused.text
    assert "run `git add data/authored/mine.csv`" in refused.text


def test_missing_rows_fail_in_validate_by_parameter(smoked):
    (smoked.root / "conf/data/mine.yaml").write_text(MINE, encoding="utf-8")
    before = {folder: smoked.files(folder) for folder in ("models", "reports/smoke", "data/predictions")}
    refused = smoked.dvc(*SMOKE, "-S", "data=mine", "-S", "synthesis=none", "-S", "report.headline=token_f1")
    assert refused.status != 0
    assert refused.ran == {"validate"}
    assert "error: data.path: data/authored/mine.csv: no such file or folder; set data.path" in refused.text
    assert {folder: smoked.files(folder) for folder in before} == before
