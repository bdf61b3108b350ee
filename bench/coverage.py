"""Measure how often the report's 95 % intervals cover the true value, and how often its test gives a false positive.

    python bench/coverage.py [data sets per cell, 5000 by default]

Simulates 0/1 scores of two systems for usual numbers of rows and clusters, and prints Markdown tables. Each cluster has its own
rate (beta distributed). `icc` is the correlation of two rows of one cluster, which is also the share of the variance between
clusters. Both systems see the same rows: with probability one half, a row is equally hard for both. In the case "equal" both
have the rate of the table row; in the case "better" the tuned system makes half as many errors. The report's own functions are
measured; `others` computes three alternative intervals for comparison.
"""

import itertools
import sys
from collections import defaultdict

import numpy as np
from scipy import stats

from stages.statistics import Array, paired_difference, rate_interval

RESAMPLES = 400  # the report draws many more; the test is exact for any number (Phipson & Smyth 2010)
SHAPES = [*itertools.product((100, 300), (10, 30), (0.0, 0.2), (0.5, 0.9, 0.99))]
TAKEN = ("rate", "difference, equal", "difference, better", "false positives")


def main() -> None:
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    rows = [measure(*shape, sets, np.random.default_rng(number)) for number, shape in enumerate(SHAPES)]
    print(f"{sets} data sets per cell, {RESAMPLES} resamples; percent, bold below 93 (false positives: above 6)\n")
    for names in (TAKEN, [name for name in rows[0] if name not in TAKEN]):
        print("| rows | clusters | icc | rate |", " | ".join(names), "|")
        print("|---:|---:|---:|---:|" + "---:|" * len(names))
        for shape, row in zip(SHAPES, rows, strict=True):
            print("|", " | ".join(f"{value:g}" for value in shape), "|", " | ".join(shown(n, row[n]) for n in names), "|")
        print()


def shown(name: str, share: float) -> str:
    text = f"{100 * share:.1f}"
    return f"**{text}**" if (share > 0.06 if name == "false positives" else share < 0.93) else text


def measure(n: int, clusters: int, icc: float, rate: float, sets: int, generator: np.random.Generator) -> dict[str, float]:
    """Return the share of data sets in which each interval covers the true value, and the share of false positives."""
    names = np.arange(n) % clusters
    hits: dict[str, list[bool]] = defaultdict(list)
    for _ in range(sets):
        tuned, base = scores(names, icc, rate, rate, generator)
        single = rate_interval(tuned, names)
        hits["rate"].append(single.low <= rate <= single.high)
        for case, truth in (("equal", 0.0), ("better", (1 - rate) / 2)):
            if truth:
                tuned, base = scores(names, icc, rate + truth, rate, generator)
            gap = paired_difference(tuned, base, names, RESAMPLES, generator)
            hits[f"difference, {case}"].append(gap.low <= truth <= gap.high)
            for method, (low, high) in others(tuned - base, names, generator).items():
                hits[f"{method}, {case}"].append(low <= truth <= high)
            if not truth:
                hits["false positives"].append(gap.p < 0.05)
    return {name: float(np.mean(column)) for name, column in hits.items()}


def scores(names: Array, icc: float, tuned: float, base: float, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return the 0/1 scores of both systems, each of shape (rows,); half of the rows are equally hard for both."""
    luck = generator.random((2, len(names)))
    luck[1] = np.where(generator.random(len(names)) < 0.5, luck[0], luck[1])
    return tuple((luck[i] < cluster_rates(names, icc, rate, generator)).astype(float) for i, rate in enumerate((tuned, base)))


def cluster_rates(names: Array, icc: float, rate: float, generator: np.random.Generator) -> Array:
    if not icc:
        return np.full(len(names), rate)
    weight = 1 / icc - 1
    return generator.beta(rate * weight, (1 - rate) * weight, size=names.max() + 1)[names]


def others(differences: Array, names: Array, generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Return intervals from a bootstrap of clusters, from means of random halves (Hartigan 1969), and from Student's t."""
    means = np.bincount(names, weights=differences) / np.bincount(names)
    groups, centre = len(means), float(differences.mean())
    drawn = means[generator.integers(groups, size=(RESAMPLES, groups))].mean(axis=1)
    halves = generator.integers(2, size=(RESAMPLES, groups))
    halves = halves[halves.any(axis=1)]
    half = float(stats.t.ppf(0.975, groups - 1) * means.std(ddof=1) / groups**0.5)
    return {
        "bootstrap": tuple(np.quantile(drawn, [0.025, 0.975])),
        "halves": tuple(np.quantile(halves @ means / halves.sum(axis=1), [0.025, 0.975])),
        "t": (centre - half, centre + half),
    }


if __name__ == "__main__":
    main()
