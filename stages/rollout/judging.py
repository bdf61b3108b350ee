"""Judge a roll-out at the end of each phase: continue, stop or roll back."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

import numpy as np

from stages.errors import DataError
from stages.rollout import outcomes, sequential
from stages.rollout.outcomes import Estimate, Outcomes
from stages.rollout.plan import FEWEST, Metric, Plan

UNEVEN = 0.001  # p below which the split of users is not that of the plan
EVENTS = 5  # expected good and bad outcomes of the smaller arm, below which a rate is not near normal

Verdict = Literal["continue", "stop", "roll back"]


@dataclass(frozen=True)
class Look:
    """A metric at the end of a phase, and its information as a share of the planned one.

    `z` is above 0 where it got worse. `bound` is infinite where nothing is tested: the data are too few, or alpha is spent.
    `low` and `high` hold at all looks together, each with a probability of 1 - alpha.
    """

    metric: Metric
    phase: int
    old: float
    new: float
    estimate: Estimate
    information: float
    bound: float

    @property
    def z(self) -> float:
        harm = self.metric.direction * self.estimate.difference
        return harm / self.estimate.error if self.estimate.error else 0.0

    @property
    def low(self) -> float:
        return self.estimate.difference - self.bound * self.estimate.error

    @property
    def high(self) -> float:
        return self.estimate.difference + self.bound * self.estimate.error

    @property
    def harmful(self) -> bool:
        return self.z >= self.bound

    @property
    def within(self) -> bool:
        """Whether it can be excluded that the metric got worse by the margin."""
        if not isfinite(self.bound):
            return False
        return self.low > self.metric.margin if self.metric.direction < 0 else self.high < self.metric.margin


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    reason: str
    rows: list[int]
    split: list[float]
    looks: list[Look]


def judge(plan: Plan, rows: Outcomes) -> Judgement:
    """Return the verdict on the outcomes so far, which are in the order in which they became known.

    A phase is looked at once, when it has its rows or the next one has begun, and then only its first rows count: those that
    come later change nothing. Raise DataError if an earlier phase has no rows.
    """
    sizes = np.bincount(rows.phases, minlength=len(plan.phases)).tolist()
    begun = max(number for number, size in enumerate(sizes) if size) + 1
    if 0 in sizes[:begun]:
        empty, later = plan.phases[sizes.index(0)], plan.phases[begun - 1]
        raise DataError(
            f"the phase of {empty.share:g} % has no rows, but that of {later.share:g} % has begun; add them, or plan without it"
        )
    complete = begun if sizes[begun - 1] >= plan.phases[begun - 1].rows else begun - 1
    counted = rows.first([phase.rows for phase in plan.phases[:complete]])
    split = [outcomes.sample_ratio(counted, number, plan.phases[number].share) for number in range(complete)]
    if split and min(split) < UNEVEN / len(plan.phases):
        number = int(np.argmin(split))
        reason = (
            f"in the phase of {plan.phases[number].share:g} %, the users are not split as planned (p = {split[number]:.1g}), "
            "so old and new cannot be compared; find out which users are missing"
        )
        return Judgement("stop", reason, sizes, split, [])
    looks = [look for metric in plan.metrics for look in _looks(plan, counted, metric, complete)]
    return Judgement(*_verdict(plan, sizes, complete, looks), sizes, split, looks)


def _verdict(plan: Plan, sizes: list[int], complete: int, looks: list[Look]) -> tuple[Verdict, str]:
    if worse := [look for look in looks if look.harmful]:
        found = worse[0]
        change = f"{found.metric.name} changed by {found.estimate.difference:+.4g} [{found.low:+.4g}, {found.high:+.4g}]"
        return "roll back", f"{change} by the end of the phase of {plan.phases[found.phase].share:g} %, z = {found.z:.2f}"
    tested = {look.metric.name for look in looks if isfinite(look.bound)}
    untested = [metric.name for metric in plan.metrics if metric.name not in tested]
    if complete < len(plan.phases):
        phase = plan.phases[complete]
        if sizes[complete] or not complete:
            return "continue", f"{sizes[complete]:,} of {phase.rows:,} rows of the phase of {phase.share:g} %"
        shown = "no harm was shown" + (f"; too few data yet to test {', '.join(untested)}" if untested else "")
        return "continue", f"to {phase.share:g} %: {shown}"
    within = {look.metric.name for look in looks if look.within}
    if unclear := [metric for metric in plan.metrics if metric.name not in within]:
        names = ", ".join(f"{metric.name} ({metric.margin:+g})" for metric in unclear)
        return (
            "continue",
            f"to 100 %: no harm was shown, but it cannot be excluded that these got worse by their margin: {names}",
        )
    return "continue", "to 100 %: no harm was shown, and no metric got worse by as much as its margin"


def _looks(plan: Plan, rows: Outcomes, metric: Metric, complete: int) -> list[Look]:
    """Return a metric's looks; the information that the data have decides how much of alpha each may spend."""
    found: list[tuple[int, float, float, Estimate, float]] = []
    for number in range(complete):
        until = rows.where(rows.phases <= number)
        estimate = outcomes.estimate(until, metric.name)
        old, new = (
            float(until.values[metric.name][until.new == arm].mean()) if (until.new == arm).any() else 0.0 for arm in (0, 1)
        )
        share = 1 / estimate.error**2 / plan.information(metric) if estimate.error and _enough(until, metric) else 0.0
        found.append((number, old, new, estimate, share))
    tested = [share for *_, share in found if share]
    last = complete == len(plan.phases)
    bounds = iter(sequential.bounds(plan.bound, plan.per_metric, tested, last))
    return [
        Look(metric, number, old, new, estimate, share, next(bounds) if share else inf)
        for number, old, new, estimate, share in found
    ]


def _enough(rows: Outcomes, metric: Metric) -> bool:
    """Return whether the smaller arm is large enough for z to be near normal."""
    smaller, mean = rows.smaller_arm(), float(rows.values[metric.name].mean())
    return smaller >= FEWEST and (not metric.rate or smaller * min(mean, 1 - mean) >= EVENTS)
