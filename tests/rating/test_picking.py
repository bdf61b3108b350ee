"""Rows picked for errors or disagreement have known probabilities, and estimates weight them by the inverse."""

import numpy as np
import pytest

from stages.commands import picking, rate
from stages.statistics import rate_interval

NAN = float("nan")


def test_wrong_row_is_four_times_as_likely_as_a_right_one():
    found = picking.probabilities(np.array([0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0]), 2)
    assert found == pytest.approx(2 * np.array([1, 1, 2.5, 4, 1, 1, 1, 1]) / 12.5)


def test_probability_above_one_is_certain_and_the_others_share_the_rest():
    found = picking.probabilities(np.array([1.0, 0.0, 0.0, 0.0]), 3)
    assert found == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3])
    assert picking.probabilities(np.array([1.0, 0.0]), 2).tolist() == [1, 1]
    assert picking.probabilities(np.array([1.0, 0.0]), 20).tolist() == [1, 1]


def test_rows_are_drawn_as_often_as_their_probability():
    generator = np.random.default_rng(0)
    probabilities = picking.probabilities(generator.random(30) ** 3, 12)
    probabilities = np.append(probabilities, 1.0)
    draws, counts = 20_000, np.zeros(31)
    for _ in range(draws):
        rows = picking.draw(probabilities, generator)
        assert len(set(rows)) == len(rows) == 13
        counts[rows] += 1
    errors = np.sqrt(probabilities * (1 - probabilities) / draws)
    assert np.all(np.abs(counts / draws - probabilities) <= 4.5 * errors)
    assert probabilities.min() > 0


def test_errors_are_low_scores_and_disagreement_is_their_range():
    scores = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.5, 1.0], [NAN, NAN, NAN]])
    assert picking.values("errors", scores).tolist() == [0, 1, 0.5, 0]
    assert picking.values("disagreement", scores).tolist() == [0, 0, 1, 0]


def test_mean_and_interval_weight_rows_by_inverse_probability():
    ratings = np.array([[5, 1, 3, NAN], [5, 2, NAN, NAN]])
    found = rate.estimate(ratings, 1 / np.array([0.5, 0.25, 1.0, 0.1]))
    sums, sizes = np.array([2 * 10, 4 * 3, 1 * 3]), np.array([2 * 2, 4 * 2, 1 * 1])
    mean = sums.sum() / sizes.sum()
    squares = 2 * 2 * (5 - mean) ** 2 + 4 * ((1 - mean) ** 2 + (2 - mean) ** 2) + (3 - mean) ** 2
    error = np.sqrt(3 / 2 * np.sum((sums - mean * sizes) ** 2)) / sizes.sum()
    assert (found["mean"], found["sd"], found["n"]) == (round(mean, 4), round(np.sqrt(squares / 13), 4), 5)
    for end in (found["mean_lo"], found["mean_hi"]):  # a Wilson interval ends where the score test rejects, here by t with 2
        share, p = (mean - 1) / 4, (end - 1) / 4
        effective = share * (1 - share) / (error / 4) ** 2
        assert abs(share - p) / np.sqrt(p * (1 - p) / effective) == pytest.approx(4.302653, abs=0.01)  # ends are rounded


def test_equal_weights_give_the_interval_of_a_rate():
    generator = np.random.default_rng(1)
    scores = (generator.random(80) < 0.7).astype(float)
    found, known = rate.estimate(1 + 4 * scores[None], np.full(80, 5.0)), rate_interval(scores, np.arange(80))
    assert found == {
        "mean": round(1 + 4 * known.mean, 4),
        "sd": round(4 * float(scores.std()), 4),
        "mean_lo": round(1 + 4 * known.low, 4),
        "mean_hi": round(1 + 4 * known.high, 4),
        "n": 80,
    }


@pytest.mark.parametrize("ratings", [[[4.0, 4.0, 4.0]], [[4.0, NAN, NAN]], [[4.0, 4.0], [5.0, 5.0]]])
def test_rows_that_do_not_differ_have_no_interval(ratings):
    found = rate.estimate(np.array(ratings), np.array([1, 1.7, 3.1])[: len(ratings[0])])
    assert sorted(found) == ["mean", "n", "sd"]
