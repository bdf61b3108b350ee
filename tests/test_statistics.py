"""Intervals cover what they claim, p-values equal those of the exact test, and the same seed gives the same numbers."""

import numpy as np
import pytest
from scipy import stats

from stages.statistics import Array, Difference, holm, paired_difference, rate_interval, ratio_difference, rows_needed, verdict


def clustered(generator: np.random.Generator, rate: float, clusters: int, size: int, spread: float) -> tuple[Array, Array]:
    """0/1 scores whose clusters have rates of their own around `rate` (beta with pseudo-count `spread`)."""
    rates = generator.beta(rate * spread, (1 - rate) * spread, size=clusters)
    names = np.repeat(np.arange(clusters), size)
    return (generator.random(clusters * size) < rates[names]).astype(float), names


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_rate_interval_covers_the_true_rate_of_clustered_scores(rate: float) -> None:
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(600):
        interval = rate_interval(*clustered(generator, rate, clusters=44, size=5, spread=4))
        covered.append(interval.low <= rate <= interval.high)
    assert 0.93 <= np.mean(covered) <= 0.98


def test_clustering_widens_the_interval() -> None:
    scores, names = clustered(np.random.default_rng(1), 0.7, clusters=20, size=10, spread=1)
    by_cluster, by_item = rate_interval(scores, names), rate_interval(scores, np.arange(len(scores)))
    assert by_cluster.high - by_cluster.low > 1.5 * (by_item.high - by_item.low)


@pytest.mark.parametrize(("score", "low", "high"), [(1.0, 0.983372, 1.0), (0.0, 0.0, 0.016628)])
def test_a_rate_of_zero_or_one_has_the_exact_bound(score: float, low: float, high: float) -> None:
    interval = rate_interval(np.full(220, score), np.arange(220) // 5)
    assert (round(interval.low, 6), round(interval.high, 6)) == (low, high)
    exact = stats.binomtest(int(220 * score), 220).proportion_ci(method="exact")
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high))


def test_one_cluster_falls_back_to_wilson_over_items() -> None:
    scores = np.array([1.0] * 30 + [0.0] * 10)
    interval = rate_interval(scores, np.zeros(40))
    wilson = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert interval.clusters == 1
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize("value", [0.5, 0.75])
def test_equal_scores_between_zero_and_one_keep_a_width(value: float) -> None:
    interval = rate_interval(np.full(40, value), np.arange(40) // 4)
    assert interval.low < value < interval.high


@pytest.mark.parametrize(("won", "lost"), [(9, 1), (5, 5), (3, 0), (0, 0), (8, 4)])
def test_sign_flips_on_unclustered_scores_equal_exact_mcnemar(won: int, lost: int) -> None:
    a = np.array([1.0] * won + [0.0] * lost + [1.0] * 20)
    b = np.array([0.0] * won + [1.0] * lost + [1.0] * 20)
    mcnemar = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    difference = paired_difference(a, b, np.arange(len(a)), 100, np.random.default_rng(0))
    assert difference.p == pytest.approx(mcnemar)


def test_drawn_sign_flips_come_close_to_exact_mcnemar() -> None:
    a, b = np.array([1.0] * 26 + [0.0] * 14), np.array([0.0] * 26 + [1.0] * 14)
    difference = paired_difference(a, b, np.arange(40), 20_000, np.random.default_rng(0))
    assert difference.p == pytest.approx(stats.binomtest(26, 40).pvalue, abs=0.01)


def test_drawn_p_is_never_zero() -> None:
    difference = paired_difference(np.ones(100), np.zeros(100), np.arange(100) // 2, 500, np.random.default_rng(0))
    assert difference.p == 1 / 501


def test_difference_between_equal_systems_is_rarely_significant() -> None:
    generator, false_alarms, covered = np.random.default_rng(3), 0, 0
    for _ in range(200):
        effect = generator.normal(0, 1, size=30)[np.repeat(np.arange(30), 5)]
        a = effect + generator.normal(size=150)
        difference = paired_difference(a, np.zeros(150), np.repeat(np.arange(30), 5), 400, generator)
        false_alarms += difference.p <= 0.05
        covered += difference.low <= 0 <= difference.high
    assert false_alarms <= 0.08 * 200
    assert covered >= 0.9 * 200


def test_the_order_of_rows_does_not_change_the_difference() -> None:
    generator = np.random.default_rng(5)
    (a, names), b = clustered(generator, 0.8, 20, 5, 4), generator.random(100)
    order = generator.permutation(100)
    one = paired_difference(a, b, names, 500, np.random.default_rng(1))
    two = paired_difference(a[order], b[order], names[order], 500, np.random.default_rng(1))
    assert (one.mean, one.low, one.high, one.p) == pytest.approx((two.mean, two.low, two.high, two.p), abs=1e-9)


def test_one_cluster_gives_a_difference_no_false_certainty() -> None:
    a = np.random.default_rng(2).random(50)
    difference = paired_difference(a, np.full(50, 0.4), np.zeros(50), 500, np.random.default_rng(0))
    assert difference.low < difference.mean < difference.high


def test_systems_that_never_differ_are_not_known_to_be_equal() -> None:
    difference = paired_difference(np.ones(100), np.ones(100), np.arange(100) // 5, 500, np.random.default_rng(0))
    assert difference.mean == 0
    assert difference.low < -0.02 < 0.02 < difference.high
    assert difference.p == 1


def test_the_interval_stays_within_what_scores_can_differ_by() -> None:
    difference = paired_difference(np.ones(12), np.zeros(12), np.arange(12), 500, np.random.default_rng(0))
    assert 0 < difference.low < difference.high == 1


def test_the_detectable_effect_is_found_four_times_in_five() -> None:
    generator, names = np.random.default_rng(4), np.repeat(np.arange(30), 10)

    def differences(shift: float) -> Array:
        effects = generator.normal(shift, 0.1, size=30)[names]
        return effects + generator.normal(0, 0.3, size=300)

    detectable = float(np.mean([paired(differences(0.0), names, generator).mde for _ in range(50)]))
    found = [paired(differences(detectable), names, generator).p < 0.05 for _ in range(300)]
    assert 0.72 < np.mean(found) < 0.88


def paired(differences: Array, names: Array, generator: np.random.Generator) -> Difference:
    return paired_difference(differences, np.zeros(len(differences)), names, 200, generator)


def test_a_ratio_weighs_each_cluster_by_its_size() -> None:
    bits, size = np.array([1.0, 4.0, 2.0, 3.0]), np.array([10, 40, 20, 30])
    difference = ratio_difference(bits, size, 500, np.random.default_rng(0))
    assert difference.mean == pytest.approx(0.1)
    assert difference.high - difference.low == pytest.approx(0)  # each text has the same bits per byte
    assert difference.p == pytest.approx(2 / 2**4)


def test_holm_adjusts_as_in_a_worked_example() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "p", "outcome"),
    [
        (0.1, 0.3, 0.001, "better"),
        (-0.3, -0.1, 0.001, "worse"),
        (-0.01, 0.03, 0.2, "within noise"),
        (-0.1, 0.3, 0.2, "underpowered"),
        (0.01, 0.03, 0.25, "unconfirmed"),
        (-0.01, 0.2, 0.01, "underpowered"),
    ],
)
def test_a_verdict_needs_interval_and_test_to_agree(low: float, high: float, p: float, outcome: str) -> None:
    assert verdict(low, high, p, margin=0.05) == outcome


def test_half_the_width_takes_four_times_the_rows() -> None:
    assert rows_needed(100, -0.05, 0.05, margin=0.05) == 400
