"""Judge a roll-out at the end of its last complete phase: continue, stop or roll back."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.errors import DataError
from stages.rollout import outcomes, sequential
from stages.rollout.outcomes import Estimate, Outcomes
from stages.rollout.plan import Metric, Plan

UNEVEN = 0.001  # p below which the split of users is not that of the plan


@dataclass(frozen=True)
class Look:
    """A metric at the end of a phase; `z` is above 0 where it got worse, `low` and `high` hold at all looks together."""

    metric: Metric
    phase: int
    old: float
    new: float
    estimate: Estimate
    fraction: float
    z: float
    bound: float

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
        """Whether a change as large as the margin can be excluded."""
        return self.low > self.metric.margin if self.metric.direction < 0 else self.high < self.metric.margin


@dataclass(frozen=True)
class Judgement:
    verdict: Literal["continue", "stop", "roll back"]
    reason: str
    rows: list[int]
    complete: int
    split: list[float]
    looks: list[Look]


def judge(plan: Plan, rows: Outcomes) -> Judgement:
    """Return the verdict on the outcomes so far; raise DataError if their phases are not those of the plan, from the first on.

    A phase is looked at once it has its rows, so that looking more often changes nothing.
    """
    sizes = np.bincount(rows.phases, minlength=len(plan.phases)).tolist()
    begun = max(number for number, size in enumerate(sizes) if size) + 1
    complete = next((number for number in range(begun) if sizes[number] < plan.phases[number].rows), begun)
    if complete < begun - 1:
        phase, after = plan.phases[complete : complete + 2]
        raise DataError(
            f"the phase of {phase.share:g} % has {sizes[complete]:,} of {phase.rows:,} rows, but the one of {after.share:g} % "
            "has begun; add the rows that are missing"
        )
    split = [outcomes.sample_ratio(rows, number, plan.phases[number].share) for number in range(begun)]
    if min(split) < UNEVEN / len(plan.phases):
        number = int(np.argmin(split))
        reason = (
            f"in the phase of {plan.phases[number].share:g} %, the users are not split as planned (p = {split[number]:.1g}), "
            "so old and new cannot be compared; find out which users are missing"
        )
        return Judgement("stop", reason, sizes, complete, split, [])
    looks = [look for metric in plan.metrics for look in _looks(plan, rows, metric, complete)]
    verdict, reason = _verdict(plan, sizes, complete, looks)
    return Judgement(verdict, reason, sizes, complete, split, looks)


def _verdict(
    plan: Plan, sizes: list[int], complete: int, looks: list[Look]
) -> tuple[Literal["continue", "stop", "roll back"], str]:
    if worse := [look for look in looks if look.harmful]:
        found = worse[0]
        change = f"{found.metric.name} changed by {found.estimate.difference:+.4g} [{found.low:+.4g}, {found.high:+.4g}]"
        return "roll back", f"{change} by the end of the phase of {plan.phases[found.phase].share:g} %, z = {found.z:.2f}"
    if complete < len(plan.phases):
        phase = plan.phases[complete]
        stay = f"{sizes[complete]:,} of {phase.rows:,} rows of the phase of {phase.share:g} %"
        return "continue", stay if sizes[complete] else f"to {phase.share:g} %: no harm so far"
    last = [look for look in looks if look.phase == complete - 1]
    if unclear := [look.metric for look in last if not look.within]:
        names = ", ".join(f"{metric.name} ({metric.margin:+g})" for metric in unclear)
        return "continue", f"to 100 %: no harm was shown, but a change as large as the margin cannot be excluded of {names}"
    return "continue", "to 100 %: no harm was shown, and all changes are smaller than their margins"


def _looks(plan: Plan, rows: Outcomes, metric: Metric, complete: int) -> list[Look]:
    """Return a metric's looks; the information that the data have decides how much of alpha each may spend."""
    found: list[tuple[float, float, Estimate, float]] = []
    for number in range(complete):
        until = rows.until(number)
        estimate = outcomes.estimate(until, metric.name)
        if not estimate.error:
            raise DataError(
                f"{metric.name}: all its values are equal by the end of the phase of {plan.phases[number].share:g} %; it "
                "cannot be judged"
            )
        least = found[-1][3] + 1e-6 if found else 1e-6
        last = number == len(plan.phases) - 1
        fraction = 1.0 if last else min(max(1 / estimate.error**2 / plan.information(metric), least), 1 - 1e-3)
        old, new = (float(until.values[metric.name][until.new == arm].mean()) for arm in (False, True))
        found.append((old, new, estimate, max(fraction, least)))
    bounds = sequential.bounds(plan.bound, plan.per_metric, [fraction for *_, fraction in found])
    return [
        Look(metric, number, old, new, estimate, fraction, metric.direction * estimate.difference / estimate.error, bound)
        for number, ((old, new, estimate, fraction), bound) in enumerate(zip(found, bounds, strict=True))
    ]
