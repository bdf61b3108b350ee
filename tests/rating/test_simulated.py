"""Three scripted raters: picked rows give back the order of systems, their true means, and the expected agreement."""

import numpy as np
import pytest

from bench.rating import NAIVE, NOISE, QUALITY, chances, drawn, expected_alpha, rated, simulated, true_means
from stages.commands import picking, rate


@pytest.mark.parametrize("pick", picking.PICKS)
def test_scripted_raters_recover_order_means_and_agreement(pick):
    generator = np.random.default_rng(7)
    right, scores = drawn(generator)
    runs = 400
    found = simulated(pick, 100, right, scores, runs, generator)
    assert np.mean(found["order"]) >= 0.97
    for system, truth in zip(QUALITY, true_means(right), strict=True):
        standard_error = np.std(found[system]) / np.sqrt(runs)
        assert abs(np.mean(found[system]) - truth) < 4 * standard_error
        assert np.mean(found[f"{system}, covered"]) >= 0.93
    expected = expected_alpha(right, chances(pick, 100, scores))
    assert np.mean(found["alpha"]) == pytest.approx(expected, abs=0.01)


def test_without_weights_picked_errors_would_bias_every_mean():
    generator = np.random.default_rng(8)
    right, scores = drawn(generator)
    found = simulated("errors", 100, right, scores, 100, generator)
    for system, truth in zip(QUALITY, true_means(right), strict=True):
        assert np.mean(found[f"{system}, {NAIVE}"]) < truth - 0.1
    assert np.mean(found["wrong"]) > 1 - right.mean() + 0.05


def test_expected_agreement_is_that_of_many_ratings():
    generator = np.random.default_rng(9)
    right = generator.random((4000, 1)) < 0.7
    ratings = rated(right, generator)[:, :, 0]
    assert rate.krippendorff_alpha(ratings) == pytest.approx(expected_alpha(right, np.ones(4000)), abs=0.02)
    flips = [np.mean(ratings[i] != np.where(right[:, 0], 5, 1)) for i in range(len(NOISE))]
    assert flips == pytest.approx(NOISE, abs=0.02)
