"""Group-sequential bounds: published values, and the probabilities that they are made for."""

import numpy as np
import pytest

from stages.rollout import sequential

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("bound", "published"),  # of five equal looks, one-sided 0.025: Lan-DeMets, as in gsDesign and ldbounds
    [("obrien-fleming", [4.877, 3.357, 2.680, 2.290, 2.031]), ("pocock", [2.438, 2.427, 2.410, 2.397, 2.386])],
)
def test_bounds_are_the_published_ones(bound, published):
    assert sequential.bounds(bound, 0.025, FIVE) == pytest.approx(published, abs=0.001)


@pytest.mark.parametrize("bound", sequential.BOUNDS)
@pytest.mark.parametrize("fractions", [[1.0], [0.1, 0.45, 1.0], [0.3, 0.31, 1.0], FIVE])
def test_alpha_is_spent_at_the_last_look(bound, fractions):
    bounds = sequential.bounds(bound, 0.05, fractions)
    assert sum(sequential.crossing(bounds, fractions, 0.0)) == pytest.approx(0.05, abs=1e-6)
    drift = sequential.drift(bounds, fractions, 0.8)
    assert sum(sequential.crossing(bounds, fractions, drift)) == pytest.approx(0.8, abs=1e-6)


def test_probabilities_are_those_of_random_walks():
    fractions, generator = [0.1, 0.45, 1.0], np.random.default_rng(0)
    bounds = sequential.bounds("pocock", 0.05, fractions)
    steps = generator.normal(size=(200_000, 3)) * np.sqrt(np.diff([0, *fractions])) + 1.5 * np.diff([0, *fractions])
    reached = np.cumsum(steps, axis=1) / np.sqrt(fractions) >= bounds
    first = np.where(reached.any(1), reached.argmax(1), 3)
    drawn = np.bincount(first, minlength=4)[:3] / len(first)
    assert sequential.crossing(bounds, fractions, 1.5) == pytest.approx(drawn, abs=0.004)


def test_one_look_is_a_plain_test():
    assert sequential.bounds("obrien-fleming", 0.05, [1.0]) == pytest.approx([1.6449], abs=1e-4)
    assert sequential.bounds("obrien-fleming", 0.05, [0.001, 1.0])[0] == float("inf")
