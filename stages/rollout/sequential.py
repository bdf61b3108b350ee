"""Group-sequential bounds by alpha spending (Lan and DeMets 1983): several looks at growing data, one rate of false alarms.

A look has an information fraction t, the information so far (the inverse variance of the estimate) as a share of the planned
one. The statistic at a look is z, positive in the direction that the test is for. B(t) = z √t has independent normal steps of
variance t, with mean `drift` · t, where drift is the expected z at t = 1. Tests are one-sided.
"""

from collections.abc import Sequence
from math import e, log, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from stages.statistics import Array

BOUNDS = ("obrien-fleming", "pocock")
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)
FARTHEST = 9.0  # standard deviations; nothing lies beyond them


def spent(bound: str, alpha: float, fraction: float) -> float:
    """Return how much of alpha may be spent up to an information fraction (Lan and DeMets 1983).

    The O'Brien–Fleming-like function spends little on early looks, the Pocock-like one nearly equally much on each.
    """
    if bound == "pocock":
        return alpha * log(1 + (e - 1) * fraction)
    return float(2 * norm.sf(norm.isf(alpha / 2) / sqrt(fraction)))


def bounds(bound: str, alpha: float, fractions: Sequence[float]) -> list[float]:
    """Return the z at each look from which on the test rejects; `fractions` rise to at most 1."""
    found: list[float] = []
    walk, before = Walk(), 0.0
    for fraction in fractions:
        allowed = spent(bound, alpha, fraction) - before
        before += allowed
        found.append(walk.bound(fraction, allowed))
        walk.step(fraction, found[-1])
    return found


def crossing(bounds: Sequence[float], fractions: Sequence[float], drift: float) -> list[float]:
    """Return the probability that z reaches its bound at each look for the first time."""
    walk, found = Walk(drift), []
    for fraction, bound in zip(fractions, bounds, strict=True):
        found.append(walk.above(fraction, bound))
        walk.step(fraction, bound)
    return found


def drift(bounds: Sequence[float], fractions: Sequence[float], power: float) -> float:
    """Return the expected z at t = 1 with which the test rejects at some look with probability `power`."""
    return float(brentq(lambda drift: sum(crossing(bounds, fractions, drift)) - power, 0.0, 20.0))


class Walk:
    """The density of B(t) where no bound has been reached yet, by numerical integration from look to look."""

    def __init__(self, drift: float = 0.0) -> None:
        self.drift, self.fraction = drift, 0.0
        self.places, self.mass = np.zeros(1), np.ones(1)  # all mass at 0 before the first look

    def above(self, fraction: float, bound: float) -> float:
        """Return the probability that z reaches `bound` at the look, and had reached none before."""
        means, deviation = self._next(fraction)
        return float(self.mass @ norm.sf((bound * sqrt(fraction) - means) / deviation))

    def bound(self, fraction: float, probability: float) -> float:
        """Return the bound that is reached with this probability; infinity if it is below 1e-12."""
        if probability < 1e-12:
            return float("inf")
        return float(brentq(lambda bound: self.above(fraction, bound) - probability, -FARTHEST, FARTHEST))

    def step(self, fraction: float, bound: float) -> None:
        """Go on to the next look with what stayed below its bound."""
        means, deviation = self._next(fraction)
        lowest, highest = self.drift * fraction - FARTHEST * sqrt(fraction), self.drift * fraction + FARTHEST * sqrt(fraction)
        half = (min(highest, bound * sqrt(fraction)) - lowest) / 2
        places = lowest + half * (NODES + 1)
        density = norm.pdf((places[:, None] - means) / deviation) @ self.mass / deviation
        self.places, self.mass, self.fraction = places, density * WEIGHTS * half, fraction

    def _next(self, fraction: float) -> tuple[Array, float]:
        grown = fraction - self.fraction
        return self.places + self.drift * grown, sqrt(grown)
