"""Simulate roll-outs: how often is a new model rolled back? python bench/rollout.py [runs, 10,000 by default]

The rate of both models differs from phase to phase by more than the margin. The new model is as good as the old one (each
alarm is false) or worse by the margin (each one is right). Prints the shares with their 95 % intervals, for both bounds.
"""

import sys

import numpy as np

from stages.rollout import judging, plan
from stages.rollout.outcomes import Outcomes
from stages.rollout.plan import Plan
from stages.statistics import rate_interval

BASELINE, MARGIN = 0.8, 0.05
DRIFT = (0.12, -0.12, 0.0)  # of both models' rate, from phase to phase


def drawn(made: Plan, change: float, generator: np.random.Generator) -> Outcomes:
    """Return the outcomes of a whole roll-out of one metric, whose rate with the new model differs by `change`."""
    phases = np.repeat(np.arange(len(made.phases)), [phase.rows for phase in made.phases])
    new = generator.random(len(phases)) < np.array([phase.share / 100 for phase in made.phases])[phases]
    rates = np.clip(made.metrics[0].baseline + np.array(DRIFT)[phases] + change * new, 0, 1)
    return Outcomes(np.arange(len(phases)), new, phases, {made.metrics[0].name: (generator.random(len(phases)) < rates) * 1.0})


def simulated(made: Plan, change: float, runs: int, generator: np.random.Generator) -> float:
    """Return the share of runs in which the new model is rolled back."""
    judged = (judging.judge(made, drawn(made, change, generator)).verdict for _ in range(runs))
    return sum(verdict == "roll back" for verdict in judged) / runs


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for bound in ("obrien-fleming", "pocock"):
        made = plan.made([plan.rate(plan.OUTCOME, BASELINE, -MARGIN)], [5, 20, 50], 1000, 0.05, 0.8, bound)
        for change, what in ((0.0, "false alarms"), (-MARGIN, "noticed")):
            share = simulated(made, change, runs, np.random.default_rng(42))
            rate = rate_interval((np.arange(runs) < round(share * runs)).astype(float), np.arange(runs))
            found = f"{100 * rate.mean:6.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
            print(f"{bound:15}{made.phases[0].rows:6} rows a phase  {what:13}{found}", flush=True)


if __name__ == "__main__":
    main()
