"""Pairs by the task's metric: scores, the margin, the share of references, and votes."""

import pytest

from stages.preferences import verifier
from stages.preferences.made import Made
from stages.preferences.records import Sample
from stages.records import UNANSWERABLE, Example, Message
from tests.preferences.conftest import complaint, row, samples


def made(given: dict[Example, list[str]], margin: float = 0.1, reference: float = 0.0) -> Made:
    answers = [sample for example, texts in given.items() for sample in samples(example, *texts)]
    return verifier.made(list(given), answers, margin, reference)


def test_best_sample_is_chosen_and_worst_rejected() -> None:
    found = made({row(1): [complaint(2), complaint(4), complaint(1), complaint(4)]})
    (pair,) = found.pairs
    assert (pair.chosen, pair.rejected) == (complaint(4), complaint(1))
    assert (pair.chosen_score, pair.rejected_score) == (1.0, 0.249)
    assert (pair.source, pair.chosen_from, pair.example, len(pair.parents)) == ("verifier", "sample", row(1).id, 2)


@pytest.mark.parametrize(("margin", "count"), [(0.25, 1), (0.26, 0)])
def test_gap_must_reach_the_margin(margin: float, count: int) -> None:
    found = made({row(1): [complaint(2), complaint(1)]}, margin)
    assert len(found.pairs) == count
    assert len(found.votes) == (0 if count else 2)  # at most half of each is right


def test_whole_record_breaks_ties_of_its_fields() -> None:
    surplus = complaint(4)[:-1] + ', "mood": "bad"}'
    whole, more = samples(row(1), complaint(4), surplus)
    assert (whole.score, more.score) == (1.0, 1.0 - verifier.TIE)
    assert (verifier.is_right(whole), verifier.is_right(more)) == (True, False)


@pytest.mark.parametrize(
    ("kind", "answer", "texts", "scores"),
    [
        ("text", "In Ulm.", ["In Ulm.", "In Rio."], [1.0, 0.5]),
        ("choice", "Ulm", ["Ulm", "Rio"], [1.0, 0.0]),
        ("classification", "Ulm", ["Ulm", "Rio"], [1.0, 0.0]),
        ("summary", "It is in Ulm.", ["It is in Ulm.", "No"], [1.0, 0.0]),
        ("translation", "In Ulm.", ["In Ulm.", "x"], [1.0, 0.0]),
    ],
)
def test_each_kind_of_task_has_its_main_score(kind: str, answer: str, texts: list[str], scores: list[float]) -> None:
    example = row(1, answer, kind, choices=("Ulm", "Rio") if kind in ("choice", "classification") else ())
    assert [sample.score for sample in samples(example, *texts)] == pytest.approx(scores, abs=0.08)


def test_declining_is_right_only_where_it_should_be() -> None:
    declined = "I do not know; the handbook does not say."
    to_decline = row(1, declined, "text", slices=(UNANSWERABLE,))
    assert [sample.score for sample in samples(to_decline, declined, "In Ulm.")] == [1.0, 0.0]
    assert [sample.score for sample in samples(row(2, "The handbook does say Ulm.", "text"), declined)] == [0.0]


def test_answer_that_was_cut_off_loses_a_tie() -> None:
    example = row(1, "In Ulm.", "text")
    cut = Sample(example=example.id, number=0, text="In Ulm.", stopped=False, new_tokens=9, parents=(example.id,))
    assert verifier.scored([example], [cut])[0].score == 1.0 - verifier.TIE


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_reference_is_chosen_in_at_most_its_share(share: float) -> None:
    good = {row(i): [complaint(4), complaint(1)] for i in range(6)}
    wrong = {row(i): [complaint(0), complaint(0)] for i in range(6, 16)}
    found = made(good | wrong, reference=share)
    references = [pair for pair in found.pairs if pair.chosen_from == "reference"]
    assert len(references) == {0.0: 0, 0.25: 2, 0.5: 6, 1.0: 10}[share]
    assert all(pair.chosen == row(0).reference and pair.parents[0] == pair.example for pair in references)


def test_hashes_and_not_places_choose_the_references() -> None:
    given = {row(i): [complaint(0), complaint(3)] for i in range(12)}
    there, back = (made(dict(order), reference=0.5) for order in (given.items(), reversed(given.items())))
    chosen = [{pair.example for pair in found.pairs if pair.chosen_from == "reference"} for found in (there, back)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 6


def test_prompt_without_a_pair_gives_votes() -> None:
    found = made({row(1): [complaint(4)] * 2, row(2): [complaint(0), complaint(0)], row(3): [complaint(3)] * 2})
    assert [(vote.example, vote.good) for vote in found.votes] == [(row(1).id, True), (row(2).id, False)]
    assert (found.pairs, found.dropped, found.candidates) == ([], {"equal scores": 1}, 3)


def test_reference_is_no_pair_where_samples_nearly_reach_it() -> None:
    """A sample that is only cut off, or nearly right, is not rejected against the reference."""
    example = Example(
        kind="text", messages=(Message(role="user", content="?"), Message(role="assistant", content="Ulm")), source="x"
    )
    cut = [Sample(example=example.id, number=n, text="Ulm", stopped=False, new_tokens=1, score=0.999) for n in range(2)]
    found = verifier.made([example], cut, margin=0.1, reference=1.0)
    assert found.pairs == []
