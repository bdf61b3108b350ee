"""Simulate raters: do picked rows give back the order of systems, their true means, and the expected agreement?

    python bench/rating.py [runs, 1000 by default]

Nobody rated anything here. The answers of three systems to 400 rows are drawn once; some rows are harder for all systems. An
answer is right (5) or wrong (1). Three scripted raters take it for the opposite in 5, 10 and 20 % of the cases. The headline
metric is wrong on a tenth of the answers. Each run picks 20 or 100 rows and computes what `tunetrail rate import` does.
"""

import itertools
import sys
from collections import defaultdict

import numpy as np

from stages.commands import picking, rate
from stages.statistics import Array

NOISE = (0.05, 0.1, 0.2)  # share of answers that each rater takes for the opposite
QUALITY = {"weak": 0.5, "middle": 0.7, "strong": 0.9}  # share of right answers
ROWS, RATED, METRIC_NOISE = 400, (20, 100), 0.1
RIGHT, WRONG = 5.0, 1.0
NAIVE = "without weights"


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    generator = np.random.default_rng(42)
    right, scores = drawn(generator)
    print(f"Simulated: {runs} runs, {ROWS} rows\n")
    print(
        f"| pick | rated rows | system | true mean | mean of means | covered, % | {NAIVE} |\n|---|---:|---|---:|---:|---:|---:|"
    )
    agreements = []
    for pick, count in itertools.product(picking.PICKS, RATED):
        found = simulated(pick, count, right, scores, runs, generator)
        for system, truth in zip(QUALITY, true_means(right), strict=True):
            covered = 100 * np.mean(found[f"{system}, covered"])
            means = f"{np.mean(found[system]):.3f} | {covered:.1f} | {np.mean(found[f'{system}, {NAIVE}']):.3f}"
            print(f"| {pick} | {count} | {system} | {truth:.3f} | {means} |")
        expected = expected_alpha(right, chances(pick, count, scores))
        shares = f"{100 * np.mean(found['order']):.1f} | {100 * np.mean(found['wrong']):.1f}"
        agreements.append(f"| {pick} | {count} | {shares} | {np.mean(found['alpha']):.3f} | {expected:.3f} |")
    print("\n| pick | rated rows | right order, % | wrong answers, % | mean alpha | expected alpha |\n|---|" + "---:|" * 5)
    print("\n".join(agreements))


def drawn(generator: np.random.Generator) -> tuple[Array, Array]:
    """Return which answers are right, and their headline scores (0 or 1), each of shape (rows, systems)."""
    luck = (generator.random((ROWS, 1)) + generator.random((ROWS, len(QUALITY)))) / 2  # rows share half of it
    ranks = luck.argsort(axis=0).argsort(axis=0)
    right = ranks < ROWS * np.array(list(QUALITY.values()))
    return right, (right ^ (generator.random(right.shape) < METRIC_NOISE)).astype(float)


def rated(right: Array, generator: np.random.Generator) -> Array:
    """Return the raters' ratings, shape (raters, *right.shape)."""
    flipped = generator.random((len(NOISE), *right.shape)) < np.reshape(NOISE, (-1, *[1] * right.ndim))
    return np.where(right ^ flipped, RIGHT, WRONG)


def chances(pick: str, count: int, scores: Array) -> Array:
    """Return the probability of each row to be among `count`; those at random are all equal."""
    return picking.probabilities(np.zeros(ROWS) if pick == "random" else picking.values(pick, scores), count)


def true_means(right: Array) -> Array:
    """Return each system's mean rating over all rows, as these raters give it on average."""
    share = np.mean(NOISE) + right.mean(axis=0) * (1 - 2 * np.mean(NOISE))
    return WRONG + (RIGHT - WRONG) * share


def expected_alpha(right: Array, probabilities: Array) -> float:
    """Return 1 - D_o / D_e of two values: two raters differ if one of them flips; by chance, if they draw different values."""
    a, b = np.array([(NOISE[i], NOISE[j]) for i in range(len(NOISE)) for j in range(i)]).T
    share = float(probabilities @ right.mean(axis=1) / probabilities.sum())
    fives = np.mean(NOISE) + share * (1 - 2 * np.mean(NOISE))
    return float(1 - np.mean(a * (1 - b) + b * (1 - a)) / (2 * fives * (1 - fives)))


def simulated(
    pick: str, count: int, right: Array, scores: Array, runs: int, generator: np.random.Generator
) -> dict[str, list[float]]:
    """Return one number per run for each result: means, whether intervals cover the true ones, order, agreement."""
    found: dict[str, list[float]] = defaultdict(list)
    probabilities, truths = chances(pick, count, scores), true_means(right)
    for _ in range(runs):
        rows = picking.draw(probabilities, generator)
        ratings = rated(right[rows], generator)  # (raters, rows, systems)
        estimates = [rate.estimate(ratings[:, :, i], 1 / probabilities[rows]) for i in range(len(QUALITY))]
        for i, (system, estimate) in enumerate(zip(QUALITY, estimates, strict=True)):
            found[system].append(estimate["mean"])
            found[f"{system}, covered"].append(estimate["mean_lo"] <= truths[i] <= estimate["mean_hi"])
            found[f"{system}, {NAIVE}"].append(float(ratings[:, :, i].mean()))
        means = [estimate["mean"] for estimate in estimates]
        found["order"].append(bool(np.all(np.diff(means) > 0)))
        found["wrong"].append(float(1 - right[rows].mean()))
        found["alpha"].append(rate.krippendorff_alpha(ratings.reshape(len(NOISE), -1)) or 0.0)
    return found


if __name__ == "__main__":
    main()
