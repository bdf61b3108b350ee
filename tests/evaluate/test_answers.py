"""Predictions meet the rows that they answer, or are refused by the file's name."""

from pathlib import Path

import pytest

from stages import records
from stages.errors import DataError
from stages.records import Example, Message, Prediction, aligned

ROWS = [Example(kind="text", messages=(Message(role="assistant", content=f"{n}"),), source="s") for n in range(3)]
OTHER = Example(kind="text", messages=(Message(role="assistant", content="of another split"),), source="s")


def written(folder: Path, rows: list[Example], system: str = "tuned_42") -> Path:
    answers = [
        Prediction(example=row.id, system=system, text=f"{place}", stopped=True, prompt_tokens=1, new_tokens=1)
        for place, row in enumerate(rows)
    ]
    records.write(folder / "tuned_42.jsonl", answers)
    return folder / "tuned_42.jsonl"


def test_predictions_come_in_the_order_of_the_rows(tmp_path: Path) -> None:
    path = written(tmp_path, [ROWS[2], ROWS[0], ROWS[1]])
    assert [prediction.text for prediction in aligned(path, ROWS)] == ["1", "2", "0"]


def test_rows_that_are_equal_have_a_prediction_each(tmp_path: Path) -> None:
    assert len(aligned(written(tmp_path, [*ROWS, ROWS[0]]), [*ROWS, ROWS[0]])) == 4


@pytest.mark.parametrize(
    ("rows", "system", "cause"),
    [
        (ROWS[:2], "tuned_42", f"no prediction for 1 of 3 rows, e.g. {ROWS[2].id}"),
        ([*ROWS, ROWS[0]], "tuned_42", f"{ROWS[0].id} has more than one prediction"),
        ([*ROWS, OTHER], "tuned_42", f"{OTHER.id} is not a row of the split"),
        (ROWS, "tuned_7", "3 predictions of other systems, e.g. tuned_7"),
    ],
)
def test_predictions_that_do_not_fit_the_rows_are_refused(tmp_path: Path, rows: list[Example], system: str, cause: str) -> None:
    with pytest.raises(DataError, match=rf"tuned_42\.jsonl: {cause}; run `dvc repro`"):
        aligned(written(tmp_path, rows, system), ROWS)
