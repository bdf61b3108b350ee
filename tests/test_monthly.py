"""bench/monthly.py: which rows each month gets, and what the table says of forgetting."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages import records
from stages.commands.compare.shapes import Item
from stages.records import Example, Message

ROOT = Path(__file__).parents[1]


@pytest.fixture
def monthly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module, in an empty folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monthly.py", "rows"])
    import monthly

    return monthly


def example(split: str, channel: str, number: int) -> Example:
    record = json.dumps({"question": f"{split} {channel} {number}"})
    turns = Message(role="user", content=f"{split} {channel} {number}"), Message(role="assistant", content=record)
    return Example(kind="extraction", messages=turns, source=f"{channel}-{number % 7}", parents=("t",))


def test_months_share_no_row_and_have_the_promised_numbers(monthly: Any) -> None:
    channels = [channel.replace(" ", "_") for _, names in monthly.MONTHS.values() for channel in names]
    for split in ("train", "valid", "test"):
        rows = [example(split, channel, number) for channel in channels for number in range(160)]
        records.write(Path(f"data/formatted/{split}.jsonl"), rows)
    monthly.main()
    texts: list[str] = []
    for month in monthly.MONTHS:
        for kind, count in (("train", 150), ("valid", 20), ("test", 100)):
            lines = (monthly.TARGET / month / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == count
            texts += [json.loads(line)["text"] for line in lines]
    assert len(texts) == len(set(texts))


def _kept(monthly: Any, arm: int, after: int, score: Callable[[int, int], float]) -> None:
    """Store the run of a month of an arm; `score` gives what one of its rows gets, by month and number."""
    folder = monthly._folder(arm, "42", after)
    rows = [
        Item(
            id=f"ex-{came}-{row}",
            source=f"s{came}-{row}",
            slices=[name],
            scores={"tuned_42": {monthly.METRIC: score(came, row)}},
        )
        for came, name in enumerate(monthly.MONTHS)
        for row in range(6)
    ]
    folder.mkdir(parents=True)
    (folder / "items.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
    (folder / "metrics.json").write_text('{"retention": {"tuned": {"bits_per_byte": 1.25}}}', encoding="utf-8")
    (folder / "cost.json").write_text(json.dumps({"train_42": {"train_seconds": 100 + after}}), encoding="utf-8")


def test_table_counts_what_earlier_months_lose(monthly: Any) -> None:
    """The rows of a month are right when it came, and those of the first month wrong after the last."""
    last = len(monthly.MONTHS) - 1
    for after in range(last + 1):
        _kept(monthly, 0, after, lambda came, _, after=after: float(came <= after and not (came == 0 and after == last)))
    *_, line = monthly.table().splitlines()
    assert line.startswith("| new rows alone | 1 | 0.0 | 100.0 | 100.0 | 100.0 | 75.0 |  | -33.3 [")
    assert line.endswith("| 1.250 | 100, 101, 102, 103 |")


def test_arm_from_the_base_is_compared_with_the_first(monthly: Any) -> None:
    """It runs in the last month alone; there it is right in half of the rows more."""
    arm = next(number for number, name in enumerate(monthly.ARMS) if name in monthly.FROM_BASE)
    for number, right in ((0, 0.0), (arm, 0.5)):
        for after in monthly._months(number):
            _kept(monthly, number, after, lambda came, row, right=right: float(row % 2 == 1) * 2 * right)
    first, line = monthly.table(Path("figure.svg")).splitlines()[2:]
    assert first.startswith("| new rows alone | 1 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |  | +0.0 [")
    assert line.startswith("| all rows, from the base | 1 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | +50.0 [")
    assert line.endswith(" | – | 1.250 | 103 |")
    assert Path("figure.svg").read_text(encoding="utf-8").count("<circle") == 2 * len(monthly.MONTHS)
