"""bench/bigbench.py: which items of a package are drawn, what a prompt holds, and what the table says of both models."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stages.figures.retention import Retained, ScoredChoice

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bigbench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    import bigbench

    return bigbench


def item(text: str, **scores: float) -> dict[str, Any]:
    return {"input": text, "target_scores": scores}


def packed(path: Path, tasks: dict[str, Any]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for task, content in tasks.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"bigbench-1.0.0/bigbench/benchmark_tasks/{task}/task.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_each_task_of_the_package_is_read_once(bigbench: Any, tmp_path: Path) -> None:
    content = {"examples": [item("Is it wet?", yes=1, no=0)]}
    given = bigbench.read(packed(tmp_path / "all.tar.gz", dict.fromkeys((*bigbench.TASKS, "another"), content)))
    assert {task: len(rows) for task, rows in given.items()} == dict.fromkeys(bigbench.TASKS, 1)


def test_package_without_a_task_is_refused_by_its_name(bigbench: Any, tmp_path: Path) -> None:
    one = packed(tmp_path / "one.tar.gz", {bigbench.TASKS[0]: {"examples": [item("?", yes=1, no=0)]}})
    with pytest.raises(SystemExit, match=f"no {bigbench.TASKS[1]}"):
        bigbench.read(one)


@pytest.mark.parametrize("examples", [[{"input": "?"}], [{"input": "?", "target_scores": ["yes"]}], "?", None])
def test_damaged_task_is_refused_in_one_line(bigbench: Any, tmp_path: Path, examples: Any) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*one\.tar\.gz: cannot be read \(\w+: .+\); use the source package"):
        bigbench.read(packed(tmp_path / "one.tar.gz", {bigbench.TASKS[0]: {"examples": examples}}))


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_file_that_is_no_package_is_refused_in_one_line(bigbench: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "one.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match="cannot be read"):
        bigbench.read(path)


def test_items_with_no_or_two_right_options_are_left_out(bigbench: Any) -> None:
    rows = [item("one", a=0, b=1, c=0), item("two", a=1, b=1), item("none", a=0, b=0), item("half", a=0.5, b=0.2)]
    drawn = bigbench.drawn("task", {"examples": [*rows, rows[0]]})
    assert [(row.choices, row.reference) for row in drawn] == [(("a", "b", "c"), "b")]


def test_draw_is_repeated_and_limited(bigbench: Any) -> None:
    content = {"examples": [item(f"question {n}", a=0, b=1) for n in range(bigbench.ROWS + 50)]}
    first, again = bigbench.drawn("task", content), bigbench.drawn("task", content)
    assert first == again and len(first) == bigbench.ROWS
    assert len({row.prompt[-1].content for row in first}) == bigbench.ROWS


def test_prompt_has_the_words_of_the_task_and_its_options(bigbench: Any) -> None:
    plain = bigbench.example("task", {}, item("Which?", left=0, right=1))
    assert plain.prompt[-1].content == "Q: Which?\n  choice: left\n  choice: right\nA:"
    own = {"task_prefix": "Answer. ", "example_input_prefix": "", "example_output_prefix": "", "append_choices_to_input": False}
    assert bigbench.example("task", own, item("Which?", left=0, right=1)).prompt[-1].content == "Answer. Which?"


def test_table_pairs_items_and_scores_per_token(bigbench: Any) -> None:
    def found(*right: bool) -> dict[str, Retained]:
        # Of four tokens and one: by its sum, the first option never has the highest log-likelihood.
        choices = [ScoredChoice(logprobs=[-4.0 if one else -8.0, -1.5], tokens=[4, 1], answer=0) for one in right]
        return {"task": Retained(texts=[], choices=choices, harm=[], harmless=[])}

    line = bigbench.table(found(False, True, False, False), found(True, True, True, False)).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["task", "4", "50.0"]
    assert cells[3].startswith("25.0 [") and cells[4].startswith("75.0 [") and cells[5].startswith("+50.0 [")
