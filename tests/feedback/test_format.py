"""From a correction to a formatted training row: `format` mixes it in, counts it, and keeps questions of test rows out."""

import csv
import json
from pathlib import Path

import pytest

from stages import records
from stages.commands import trace
from stages.feedback import __main__ as feedback
from stages.format import __main__ as formatting
from stages.params import compose
from stages.records import Example, Task
from tests.feedback.conftest import read
from tests.fixtures.formatting import formatted


@pytest.mark.model
def test_correction_is_trained_on_and_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("mine.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("input", "output"), *((f"What is item {i}?", f"Thing {i}.") for i in range(60))])
    held_out = "What is item 7?"
    given = [{"input": question, "output": "No.", "correction": "Yes."} for question in ("What is new?", held_out)]
    Path("votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    own = ("data=rows", "data.path=mine.csv", "data.test=0.9", "data.valid=0.05", "synthesis=none", "report.headline=token_f1")
    formatted(tmp_path, *own, "format.shots=0", "predict.shots=[0]", "feedback.path=votes.jsonl")
    assert held_out in {task.input for task in records.read(Path("data/raw/test.jsonl"), Task)}
    before = list(records.read(Path("data/formatted/train.jsonl"), Example))
    feedback.main()
    formatting.main()
    after = list(records.read(Path("data/formatted/train.jsonl"), Example))
    (row,) = [example for example in after if example not in before]
    assert [turn.content for turn in row.messages] == ["What is new?", "Yes."]
    assert len(after) == len(before) + 1
    assert json.loads(Path("data/formatted/audit.json").read_text())["origin"]["feedback"] == 1
    capsys.readouterr()
    trace.show(row.id)
    assert "place: votes.jsonl:1" in capsys.readouterr().out


def test_default_needs_no_raw_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/authored").symlink_to(compose.ROOT / "data/authored")
    compose.compose([], tmp_path / "params.yaml")
    feedback.main()
    assert read("tasks", Task) == []
