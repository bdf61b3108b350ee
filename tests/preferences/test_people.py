"""Pairs from rating sheets: only of training rows, only of whole rows, with the raters' conflicts counted."""

import csv
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from stages import lineage, records
from stages.errors import DataError
from stages.preferences import people
from stages.preferences.records import Sample
from stages.rating import filled, sheet
from stages.rating.criteria import CRITERIA
from stages.records import Example
from tests.preferences.conftest import row

HEADER = ("row", "question", "reference", "answer", *CRITERIA, "comment")


def two(example: Example) -> list[Sample]:
    return [
        Sample(example=example.id, number=n, text=text, stopped=True, new_tokens=2, parents=(example.id,))
        for n, text in enumerate(("good", "bad"))
    ]


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes filled sheets of two answers to each example; a mark is for a rater and an answer."""

    def make(
        examples: Iterable[Example], raters: Iterable[str], mark: Callable[[str, Sample], object], name: str = "one"
    ) -> Path:
        folder = tmp_path / "sheets"
        answers = dict(enumerate((sample for example in examples for sample in two(example)), start=1))
        for rater in raters:
            marks = {n: mark(rater, sample) for n, sample in answers.items()}
            rows = [[n, "?", "!", answers[n].text, *[value] * len(CRITERIA), ""] for n, value in marks.items()]
            sheet.write(folder / name / f"{rater}.csv", HEADER, rows)
        key = folder / f"{name}.key.csv"
        sheet.write(key, filled.KEY, ([n, sample.example, sample.id] for n, sample in answers.items()))
        records.write(filled.samples_of(key), answers.values())
        return folder

    return make


def test_better_rated_answer_is_chosen(export) -> None:
    folder = export([row(1)], ["ann", "ben"], lambda rater, sample: 4 if sample.text == "good" else 3)
    found, rated, answers = people.made(folder, [row(1)], 0.25)
    (pair,) = found.pairs
    assert (pair.chosen, pair.rejected, pair.chosen_score, pair.rejected_score) == ("good", "bad", 0.75, 0.5)
    assert (pair.source, pair.parents[:2]) == ("people", tuple(answer.id for answer in answers))
    assert (rated.raters, rated.answers, rated.ratings, rated.conflicts) == (2, 2, 4, 0)


def test_sheets_are_read_before_the_training_rows_are_made(export) -> None:
    answers, ratings = people.read(export([row(1)], ["ann"], lambda rater, sample: 4), None)
    assert len(answers) == len(ratings) == 2
    unfilled = export([row(1)], ["ben"], lambda rater, sample: "", "two")
    with pytest.raises(DataError, match=r"ben\.csv:\d: row \d has no rating of relevance and accuracy and fluency; fill it in"):
        people.read(unfilled, None)


def test_pair_leads_to_the_rows_of_the_sheets(export, tmp_path) -> None:
    folder = export([row(1)], ["ann", "ben"], lambda rater, sample: 4 if sample.text == "good" else 3)
    found, _, answers = people.made(folder, [row(1)], 0.25)
    for name, made in (("pairs", found.pairs), ("samples", answers), ("verdicts", found.verdicts)):
        records.write(tmp_path / f"data/pairs/42/{name}.jsonl", made)
    lines = [line.strip() for line in lineage.trace(found.pairs[0].id, tmp_path / "data")]
    assert [line for line in lines if line.startswith("place:")] == [
        f"place: {folder}/one/{rater}.csv: row {number}" for number in (1, 2) for rater in ("ann", "ben")
    ]
    assert lines.count("scores: {'relevance': 4, 'accuracy': 4, 'fluency': 4}") == 2


def test_equally_rated_answers_become_votes(export) -> None:
    marks = {row(1).id: 5, row(2).id: 1, row(3).id: 3}
    rows = [row(1), row(2), row(3)]
    found, _, _ = people.made(export(rows, ["ann"], lambda rater, sample: marks[sample.example]), rows, 0.1)
    assert [(vote.example, vote.good) for vote in found.votes] == [(row(n).id, n == 1) for n in (1, 1, 2, 2)]
    assert [vote.parents[1:] for vote in found.votes] == [(verdict.id,) for verdict in found.verdicts[:4]]
    assert (found.pairs, found.dropped) == ([], {"gap below the margin": 1})


def test_thousand_simulated_votes_with_a_tenth_flipped(export) -> None:
    """Simulated: five raters see 100 pairs of answers and prefer the right one, except in 10 % of their 500 comparisons.

    docs/guides/preferences.md states these numbers.
    """
    rows, raters, generator = [row(n) for n in range(100)], "abcde", random.Random(0)
    flipped = {(rater, example.id) for rater in raters for example in rows if generator.random() < 0.1}

    def mark(rater: str, sample: Sample) -> int:
        return 5 if (sample.text == "good") != ((rater, sample.example) in flipped) else 2

    found, rated, _ = people.made(export(rows, raters, mark), rows, 0.1)
    assert (rated.ratings, rated.raters, rated.compared) == (1000, 5, 100)
    votes = [sum((rater, example.id) in flipped for rater in raters) for example in rows]
    assert (len(flipped), len(found.pairs)) == (55, 100)
    assert rated.conflicts == sum(0 < count < 5 for count in votes) == 42
    assert sum(pair.chosen == "good" for pair in found.pairs) == sum(count < 3 for count in votes) == 99


def test_second_sheet_may_repeat_but_not_change_ratings(export) -> None:
    rows = [row(1), row(2)]
    export(rows[:1], ["ann"], lambda rater, sample: 5 if sample.text == "good" else 1)
    folder = export(rows, ["ann"], lambda rater, sample: 5 if sample.text == "good" else 1, "same")
    found, rated, _ = people.made(folder, rows, 0.1)
    assert ([pair.chosen for pair in found.pairs], rated.ratings, rated.raters) == (["good", "good"], 4, 1)
    export(rows, ["ann"], lambda rater, sample: 1 if sample.text == "good" else 5, "two")
    with pytest.raises(DataError, match=r"two/ann.csv: row 1: ann rated this answer otherwise in .*one/ann.csv: row 1; delete"):
        people.made(folder, rows, 0.1)


def test_half_filled_row_is_named(export) -> None:
    folder = export([row(1)], ["ann"], lambda rater, sample: 4)
    path = folder / "one/ann.csv"
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    rows[2][HEADER.index("fluency")] = ""
    path.unlink()
    sheet.write(path, rows[0], rows[1:])
    with pytest.raises(DataError, match=rf"{path}:3: row 2 has no rating of fluency; fill it in, or delete the row"):
        people.made(folder, [row(1)], 0.1)


def test_empty_sheet_names_its_first_row(export) -> None:
    with pytest.raises(DataError, match=r"ann.csv:2: row 1 has no rating of relevance and accuracy and fluency; fill it in"):
        people.made(export([row(1)], ["ann"], lambda rater, sample: ""), [row(1)], 0.1)


def test_answers_to_other_rows_are_refused(export) -> None:
    """They may be test rows, or training rows that have changed since the export."""
    folder = export([row(1)], ["ann"], lambda rater, sample: 4)
    with pytest.raises(DataError) as error:
        people.made(folder, [row(2)], 0.1)
    assert f"one.key.csv:2: {row(1).id} is not a row of the training split. " in str(error.value)
    assert "If the data changed since the export, go back to the earlier data, or export again" in str(error.value)
    assert "Training on answers to test rows would spoil their scores" in str(error.value)


def test_folder_without_a_key_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"contains no key \(\*.key.csv\); write sheets with `tunetrail rate export"):
        people.made(tmp_path, [], 0.1)
