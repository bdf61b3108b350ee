"""Intervals for rates and paired differences of items in clusters (rows of one layout, questions on one document).

Plain functions over numpy arrays; randomness comes only from the generator that the caller passes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit  # scipy.stats takes a second to import

Array = npt.NDArray[Any]

ENUMERATED = 12  # up to this many clusters that differ, all 2^G sign flips are counted instead of drawn
BLOCK = 200_000  # numbers drawn at a time: those that fit into the cache of a processor take a third of the time
TIE = 1e-9  # two sums closer than this are equal: float noise must not decide a p-value
SIGNIFICANT, POWER = 0.05, 0.8
ADDED = 2  # one won and one lost row, added to the interval of paired scores as if observed


@dataclass(frozen=True)
class Rate:
    """A mean of scores in [0, 1] with its interval; with fewer than 2 clusters the items count as independent."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True)
class Difference:
    """A mean paired difference, its 95 % interval, its two-sided p-value, and the minimum detectable effect (`mde`): the
    difference that such data show as significant with a probability of 80 %."""

    mean: float
    low: float
    high: float
    p: float
    mde: float


def rate_interval(scores: Array, clusters: Array, confidence: float = 0.95) -> Rate:
    """Return a cluster-aware Wilson interval for the mean of `scores`, one number in [0, 1] per item.

    Wilson (1927) with the effective sample size of survey statistics (Korn & Graubard 1998; Dean & Pagano 2015).

        n_eff = p(1-p) / v, at most n,    v = G/(G-1) * sum_g (sum_{i in g} (x_i - p))^2 / n^2,

    Here v is the cluster-robust (sandwich) variance of the mean over G clusters. The critical value is that of a
    t distribution with G-1 degrees of freedom. With fewer than two clusters v is unknown, so the interval is the plain Wilson
    interval over items. Where all scores are 0 or all are 1, it is the exact bound of Clopper & Pearson (1934) on n items,
    which never has zero width. Such data show nothing about clustering, so that bound treats items as independent.
    """
    n, p = len(scores), float(np.mean(scores))
    residuals, _ = _by_cluster(np.asarray(scores, dtype=float) - p, clusters)
    groups, alpha = len(residuals), 1 - confidence
    if np.all(scores == 0) or np.all(scores == 1):
        bound = (alpha / 2) ** (1 / n)
        low, high = (bound, 1.0) if p == 1 else (0.0, 1 - bound)
    elif groups < 2:
        low, high = wilson(p, n, float(ndtri(1 - alpha / 2)))
    else:
        variance = groups / (groups - 1) * float(np.sum(residuals**2)) / n**2
        effective = min(n, p * (1 - p) / variance) if variance > 0 else n
        low, high = wilson(p, effective, float(stdtrit(groups - 1, 1 - alpha / 2)))
    return Rate(p, low, high, n, groups)


def mean_of_rates(rates: Sequence[Rate]) -> tuple[float, float, float]:
    """Return the unweighted mean of rates of different items and its interval by MOVER (Zou & Donner 2008).

    The rates count as independent: where their items share clusters, the interval is only approximate.
    """
    mean = sum(rate.mean for rate in rates) / len(rates)
    below = math.hypot(*(rate.mean - rate.low for rate in rates)) / len(rates)
    above = math.hypot(*(rate.high - rate.mean for rate in rates)) / len(rates)
    return mean, max(0.0, mean - below), min(1.0, mean + above)


def paired_difference(a: Array, b: Array, clusters: Array, resamples: int, generator: np.random.Generator) -> Difference:
    """Return the mean of a - b over items with scores in [0, 1], its interval and a two-sided p-value, all by cluster.

    The interval uses t with G-1 degrees of freedom and the cluster-robust variance of the mean over G clusters (as in
    `rate_interval`). One row that a won and one that b won are added (Agresti & Min 2005), so that it never has zero width.
    The p-value is from a sign-flip permutation test (Fisher 1935) on the summed difference of each cluster. All 2^G flips are
    counted where at most 12 clusters differ. Else `resamples` are drawn and p = (1 + hits) / (1 + resamples) (Phipson & Smyth
    2010). On unclustered 0/1 scores this is exact McNemar. With fewer than two clusters each item counts as one.
    """
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    sums, sizes = _by_cluster(differences, clusters)
    if len(sums) < 2:
        sums, sizes = differences, np.ones(len(differences))
    found = _difference(sums, sizes, ADDED, resamples, generator)
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))


def ratio_difference(sums: Array, sizes: Array, resamples: int, generator: np.random.Generator) -> Difference:
    """Return the same as `paired_difference`, without added rows, for sum(sums) / sum(sizes) with one entry per cluster.

    For instance `sums` are the bits that one model needs more than another for a text, `sizes` the text's bytes.
    """
    return _difference(sums, sizes, 0, resamples, generator)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values in the given order (Holm 1979): below 0.05 for any true null in at most 5 % of reports."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted.tolist()


def verdict(low: float, high: float, p: float, margin: float) -> str:
    """Return better or worse where interval and test agree, else underpowered: an interval wider than `margin`.

    A narrower interval is within noise, or unconfirmed if it excludes zero: so few rows may leave the test no small p.
    """
    if p < SIGNIFICANT and not low <= 0 <= high:
        return "better" if low > 0 else "worse"
    if high - low > margin:
        return "underpowered"
    return "within noise" if low <= 0 <= high else "unconfirmed"


def rows_needed(rows: int, low: float, high: float, margin: float) -> int:
    """Return how many rows, in clusters of the present size, narrow the interval to `margin`; its width falls as their root."""
    return math.ceil(rows * ((high - low) / margin) ** 2)


def _difference(sums: Array, sizes: Array, added: int, resamples: int, generator: np.random.Generator) -> Difference:
    groups, n = len(sums), float(sizes.sum())
    mean, freedom = float(sums.sum()) / n, max(1, groups - 1)
    error = math.sqrt(groups / freedom * float(np.sum((sums - mean * sizes) ** 2)) + added) / (n + added)
    centre, (half, reach) = mean * n / (n + added), error * stdtrit(freedom, [1 - SIGNIFICANT / 2, POWER])
    p = _sign_flip_p(sums, resamples, generator)
    return Difference(mean, centre - float(half), centre + float(half), p, float(half + reach))


def _sign_flip_p(sums: Array, resamples: int, generator: np.random.Generator) -> float:
    sums = sums[np.abs(sums) > TIE]  # flipping a zero changes nothing
    observed = abs(float(sums.sum())) - TIE
    if len(sums) <= ENUMERATED:
        flips = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float(np.mean(np.abs((2 * flips - 1) @ sums) >= observed))
    hits = sum(
        int(np.sum(np.abs((2 * generator.integers(2, size=shape) - 1) @ sums) >= observed))
        for shape in _blocks(resamples, len(sums))
    )
    return (1 + hits) / (1 + resamples)


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Return the interval of a rate p of n items, which may be an effective number, for a quantile z (Wilson 1927)."""
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _by_cluster(values: Array, clusters: Array) -> tuple[Array, Array]:
    """Return the sum of the values and the number of items of each cluster, ordered by the clusters' names."""
    _, index = np.unique(clusters, return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index)


def _blocks(rows: int, columns: int) -> list[tuple[int, int]]:
    step = max(1, BLOCK // columns)
    return [(min(step, rows - start), columns) for start in range(0, rows, step)]
