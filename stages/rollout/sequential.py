"""Group-sequential bounds by alpha spending (Lan and DeMets 1983): several looks at growing data, one rate of false alarms.

The statistic at a look is z, positive in the direction that the test is for. With the information so far, the inverse variance
of the estimate, B = z √information has independent normal steps whose variances are the steps of the information. Information
is given as a share of the planned one. It decides the correlation of looks; how much of alpha each may spend is given apart,
since data can hold more information than planned. `drift` is the expected z at a share of 1. Tests are one-sided.
"""

from collections.abc import Sequence
from math import e, inf, log, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from stages.statistics import Array

BOUNDS = ("obrien-fleming", "pocock")
NODES, WEIGHTS = np.polynomial.legendre.leggauss(300)
FARTHEST = 8.0  # standard deviations; nothing lies beyond them
LEAST = 0.02  # of the information so far; a look that adds less is left out, as it could not be integrated


def spent(bound: str, alpha: float, share: float) -> float:
    """Return how much of alpha may be spent up to a share of the information, from 0 to 1 (Lan and DeMets 1983).

    The O'Brien–Fleming-like function spends little on early looks, the Pocock-like one nearly equally much on each.
    """
    if bound == "pocock":
        return alpha * log(1 + (e - 1) * share)
    return float(2 * norm.sf(norm.isf(alpha / 2) / sqrt(share)))


def bounds(bound: str, alpha: float, information: Sequence[float], last: bool = True) -> list[float]:
    """Return the z at each look from which on the test rejects, infinity for a look that may spend nothing.

    With `last`, the last look may spend what is left of alpha, however much information there is.
    """
    found: list[float] = []
    walk, before = Walk(), 0.0
    for number, share in enumerate(information, start=1):
        ends = last and number == len(information)
        if share < walk.information * (1 + LEAST) and not ends:
            found.append(inf)
            continue
        share = max(share, walk.information * (1 + LEAST))
        allowed = spent(bound, alpha, 1.0 if ends else min(share, 1.0)) - before
        found.append(walk.bound(share, allowed))
        before += allowed if found[-1] < inf else 0.0
        walk.step(share, found[-1])
    return found


def crossing(bounds: Sequence[float], information: Sequence[float], drift: float) -> list[float]:
    """Return the probability that z reaches its bound at each look for the first time."""
    walk, found = Walk(drift), []
    for share, bound in zip(information, bounds, strict=True):
        found.append(walk.above(share, bound))
        walk.step(share, bound)
    return found


def drift(bounds: Sequence[float], information: Sequence[float], power: float) -> float:
    """Return the expected z at a share of 1 with which the test rejects at some look with probability `power`."""
    return float(brentq(lambda drift: sum(crossing(bounds, information, drift)) - power, 0.0, 20.0))


class Walk:
    """The density of B where no bound has been reached yet, by numerical integration from look to look."""

    def __init__(self, drift: float = 0.0) -> None:
        self.drift, self.information = drift, 0.0
        self.places, self.mass = np.zeros(1), np.ones(1)  # all mass at 0 before the first look

    def above(self, share: float, bound: float) -> float:
        """Return the probability that z reaches `bound` at the look, and had reached none before."""
        means, deviation = self._next(share)
        return float(self.mass @ norm.sf((bound * sqrt(share) - means) / deviation))

    def bound(self, share: float, probability: float) -> float:
        """Return the bound that is reached with this probability; infinity if it is below 1e-12."""
        if probability < 1e-12 or self.above(share, -FARTHEST) <= probability:
            return inf
        return float(brentq(lambda bound: self.above(share, bound) - probability, -FARTHEST, FARTHEST))

    def step(self, share: float, bound: float) -> None:
        """Continue with what stayed below the bound of the look."""
        means, deviation = self._next(share)
        lowest, highest = (self.drift * share + side * FARTHEST * sqrt(share) for side in (-1, 1))
        half = (min(highest, bound * sqrt(share)) - lowest) / 2
        places = lowest + half * (NODES + 1)
        density = norm.pdf((places[:, None] - means) / deviation) @ self.mass / deviation
        self.places, self.mass, self.information = places, density * WEIGHTS * half, share

    def _next(self, share: float) -> tuple[Array, float]:
        grown = share - self.information
        return self.places + self.drift * grown, sqrt(grown)
