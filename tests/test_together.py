"""bench/together.py: what is trained and put to a vote, and what the table compares."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.commands.compare.shapes import Item

ROOT = Path(__file__).parents[1]
SHARE = {"tuned_42": 0.0, "kept_month_1-42": 1.0, "kept_month_2-42": 0.5, "vote": 0.75}


@pytest.fixture
def together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module, in an empty folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["together.py", "run"])
    import together

    return together


def test_each_adapter_is_of_one_data_set_and_all_vote(together: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[list[str]] = []
    commands: list[list[str]] = []
    monkeypatch.setattr(together, "run", runs.append)
    monkeypatch.setattr(together, "keep", lambda *_: None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    together.main()
    drawn = [next(word for word in words if word.startswith("data.mix.rows=")) for words in runs]
    alone = [f"data.mix.rows={{{', '.join(f'month_{n}: 0' for n in range(1, 5) if n != part)}}}" for part in (1, 2, 3)]
    assert drawn == [*alone, "data.mix.rows={month_4: 0}", alone[2]]
    assert ["train.max_steps=144" in words for words in runs] == [False, False, False, True, False]
    assert "predict.kept=[cat-42, svd-42, ties_svd-42, dare_ties_svd-42]" in runs[3]
    assert {"predict.kept=[month_1-42, month_2-42]", "evaluate.vote=true"} <= set(runs[4])
    assert sum(command[:2] == ["tunetrail", "combine"] for command in commands) == 4
    assert ["git", "add", "adapters/ties_svd-42.dvc"] in commands


def test_table_compares_with_the_mean_and_with_all_rows(together: Any) -> None:
    combined = {"tuned_42": 0.5} | {f"kept_{way}-42": 0.25 for way in together.WAYS}
    for folder, shares in (("voted", SHARE), ("combined", combined)):
        rows = [
            Item(
                id=f"ex-{part}-{row}",
                source=f"s{part}-{row}",
                slices=[part],
                scores={system: {together.METRIC: share} for system, share in shares.items()},
            )
            for part in together.ALL
            for row in range(5)
        ]
        place = together.KEPT / "42" / folder
        place.mkdir(parents=True)
        (place / "items.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
    lines = together.table(42, Path("figure.svg")).splitlines()
    vote = next(line for line in lines if line.startswith("| their vote |"))
    assert vote.startswith("| their vote | 75.0 | 75.0 | 75.0 | 75.0 | 75.0 [")
    assert vote.count("| +25.0 [+") == 2
    assert lines[-1].startswith("| tuned on all three | 50.0 |") and lines[-1].endswith("|  |")
    assert Path("figure.svg").read_text(encoding="utf-8").count("<circle") == 9
