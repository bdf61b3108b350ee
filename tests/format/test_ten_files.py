"""Every snippet of docs/guides/ten-files.md runs as it stands: fetch and format read its rows with its experiment."""

import json
import shutil
from pathlib import Path

import pytest

from stages.params import compose
from tests.fixtures.formatting import formatted
from tests.fixtures.ten_files import Shape, grown, shapes

# By file: the kind of task, and what is trained on of its first row.
EXPECTED = {
    "alpaca.jsonl": ("text", "Shelf 2041."),
    "sharegpt.jsonl": ("text", "On shelf 2041."),
    "chats.jsonl": ("text", "Reset it."),
    "labels.csv": ("text", "LOT-1041"),
    "quiz.jsonl": ("choice", "The correct answer is 2041."),
    "mood.csv": ("classification", "complaint"),
    "arc.jsonl": ("choice", "The correct answer is 2041."),
    "mmlu.jsonl": ("choice", "The correct answer is 2041."),
    "signs.tsv": ("translation", "Shelf 1041 is empty."),
    "orders.json": ("extraction", '{"order": "1041", "who": "Ann", "boxes": 2}'),
}


@pytest.mark.model
@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape.title)
def test_snippets_of_a_shape_run_through_format(shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(compose.ROOT / "conf", tmp_path / "conf")
    for name in ("hydra_plugins", "data/authored"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(compose.ROOT / name)
    monkeypatch.setattr(compose, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    Path(shape.path).parent.mkdir()
    Path(shape.path).write_text(grown(shape), encoding="utf-8")
    Path(f"conf/experiment/{shape.name}.yaml").write_text(shape.experiment, encoding="utf-8")

    formatted(tmp_path, experiment=f"[smoke,{shape.name}]")

    rows = {split: _rows(split) for split in ("train", "valid", "test", "shots")}
    assert all(rows.values())
    every = [row for part in rows.values() for row in part]
    kind, answer = EXPECTED[Path(shape.path).name]
    assert {row["kind"] for row in every} == {kind}
    assert answer in [row["messages"][-1]["content"] for row in every]
    audit = json.loads(Path("data/formatted/audit.json").read_text(encoding="utf-8"))
    assert audit["overlap"] == {"equal": 0, "ngram": 0}
    assert audit["splits"]["train"]["dropped"] == 0


def test_page_has_the_shapes_that_its_title_counts() -> None:
    assert len(shapes()) == len(EXPECTED) == 10
    assert [shape.name for shape in shapes()] == [Path(shape.path).stem for shape in shapes()]


def _rows(split: str) -> list[dict]:
    return [json.loads(line) for line in Path(f"data/formatted/{split}.jsonl").read_text(encoding="utf-8").splitlines()]
