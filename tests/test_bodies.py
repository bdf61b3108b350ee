"""bench/bodies.py: which bodies a cell gets, how a killed study goes on, what it prints."""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
BODIES = (ROOT / "data/authored/complaints/bodies/train.txt").read_text(encoding="utf-8")
ROWS = 40


@pytest.fixture
def bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module, in an empty folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bodies.py", "--bodies", "5", "9", "--steps", "2"])
    import bodies

    return bodies


def measured(_: Path, cell: dict[str, Any]) -> dict[str, Any]:
    """Answer half of the rows with authored bodies alone, all with both, none with synthetic ones."""
    right = {"authored": ROWS // 2, "both": ROWS, "synthetic": 0}[cell["arm"]]
    ids = [f"ex-{row}" for row in range(ROWS)]
    return {"kept": 7, "seconds": 3, "ids": ids, "sources": ids, "scores": [float(row < right) for row in range(ROWS)]}


def test_smaller_sets_of_bodies_are_subsets_of_larger(bodies: Any) -> None:
    few, more = bodies.chosen(BODIES, 20), bodies.chosen(BODIES, 60)
    assert (len(few), len(more)) == (20, 60)
    assert [line for line in more if line in few] == few
    assert bodies.chosen(BODIES, len(BODIES.splitlines())) == BODIES.splitlines(keepends=True)


def test_authored_bodies_alone_do_not_depend_on_the_teacher(bodies: Any) -> None:
    asked = ["+model@teacher.model=gemma3_270m", "teacher.batch_size=8", "synthesis.budget.max_calls=9", "lora.r=4"]
    assert bodies.changing("both", asked) == asked
    assert bodies.changing("authored", asked) == ["lora.r=4"]


@pytest.mark.parametrize("count", [0, 467])
def test_more_bodies_than_there_are_is_refused(bodies: Any, count: int) -> None:
    with pytest.raises(SystemExit, match=f"error: --bodies {count}: there are 466 training bodies; choose 1 to 466"):
        bodies.chosen(BODIES, count)


def test_arms_without_a_kept_body_are_named_and_not_trained(bodies: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(bodies, "measure", lambda root, cell: measured(root, cell) if cell["arm"] == "authored" else None)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--figure", "bodies.svg"])
    bodies.main()
    assert Path("bodies.svg").read_text(encoding="utf-8").count("<circle") == 2
    shown = capsys.readouterr().out
    assert "5 authored bodies, both: no body of the teacher passed the filters" in shown
    assert "| 9 | authored | 7 | 1 | 50.0" in shown and "| synthetic |" not in shown


def test_killed_study_runs_only_the_missing_cells(bodies: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cells: list[tuple[int, str]] = []

    def interrupted(root: Path, cell: dict[str, Any]) -> dict[str, Any]:
        cells.append((cell["bodies"], cell["arm"]))
        if len(cells) == 3:
            raise KeyboardInterrupt
        return measured(root, cell)

    monkeypatch.setattr(bodies, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bodies.main()
    bodies.main()
    arms = list(bodies.ARMS)
    assert cells == [*((5, arm) for arm in [*arms, "synthetic"]), *((9, arm) for arm in arms)]
    assert len(bodies.KEPT.read_text().splitlines()) == 6


def test_other_settings_are_other_cells(bodies: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "measure", measured)
    bodies.main()
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1], "3"])
    bodies.main()
    assert [json.loads(line)["steps"] for line in bodies.KEPT.read_text().splitlines()] == [2] * 6 + [3] * 6


def test_table_compares_arms_with_authored_bodies(bodies: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(bodies, "measure", measured)
    bodies.main()
    authored, both, synthetic, *_ = capsys.readouterr().out.splitlines()[2:]
    assert authored.startswith("| 5 | authored | 7 | 1 | 50.0 [") and authored.endswith(" |  | 3 |")
    assert both.startswith("| 5 | both | 7 | 1 | 100.0 [") and "| +50.0 [" in both and "]: better | 3 |" in both
    assert synthetic.startswith("| 5 | synthetic | 7 | 1 | 0.0 [") and "| -50.0 [" in synthetic


def test_figure_draws_each_cell_with_its_interval(bodies: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bodies, "measure", measured)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--figure", str(tmp_path / "bodies.svg")])
    bodies.main()
    image = ElementTree.parse(tmp_path / "bodies.svg").getroot()
    heights = [float(circle.get("cy", "nan")) for circle in image.iter("{http://www.w3.org/2000/svg}circle")]
    assert heights == [100.0, 100.0, 0.0, 0.0, 200.0, 200.0]  # 50, 100 and 0 percent at both sizes, from the top
