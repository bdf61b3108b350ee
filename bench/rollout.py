"""Simulate roll-outs: how often is a new model rolled back, and how many rows has it answered by then?

    python bench/rollout.py [runs, 10,000 by default] [--figure docs/studies/rollout.svg]

The rate of both models differs from phase to phase by more than the margin. The new model is as good as the old one (each
alarm is false) or worse by the margin (each one is right); for a figure, by other changes too. Prints the shares with their
95 % intervals, for both bounds.
"""

import argparse
from pathlib import Path

import drawing
import numpy as np

from stages import files
from stages.rollout import judging, plan
from stages.rollout.outcomes import Outcomes
from stages.rollout.plan import Plan
from stages.statistics import rate_interval

BASELINE, MARGIN = 0.8, 0.05
CHANGES = tuple(-points / 100 for points in range(-2, 9))
COLORS = {"obrien-fleming": "#1f77b4", "pocock": "#d62728"}
DRIFT = (0.12, -0.12, 0.0)  # of both models' rate, from phase to phase


def drawn(made: Plan, change: float, generator: np.random.Generator) -> Outcomes:
    """Return the outcomes of a whole roll-out of one metric, whose rate with the new model differs by `change`."""
    phases = np.repeat(np.arange(len(made.phases)), [phase.rows for phase in made.phases])
    new = generator.random(len(phases)) < np.array([phase.share / 100 for phase in made.phases])[phases]
    rates = np.clip(made.metrics[0].baseline + np.array(DRIFT)[phases] + change * new, 0, 1)
    return Outcomes(np.arange(len(phases)), new, phases, {made.metrics[0].name: (generator.random(len(phases)) < rates) * 1.0})


def simulated(made: Plan, change: float, runs: int, generator: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return for each run 1 if the new model is rolled back, and the mean number of rows that it answered until then."""
    found, exposed = np.zeros(runs), np.zeros(runs)
    for run in range(runs):
        rows = drawn(made, change, generator)
        found[run] = judging.judge(made, rows).verdict == "roll back"
        phases = range(len(made.phases)) if found[run] else ()
        until = (rows.where(rows.phases <= phase) for phase in phases)
        stopped = next((part for part in until if judging.judge(made, part).verdict == "roll back"), rows)
        exposed[run] = stopped.new.sum()
    return found, float(exposed.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=10_000)
    parser.add_argument(
        "--figure", type=Path, metavar="FILE.svg", help="draw how often the model is rolled back, by its change"
    )
    options = parser.parse_args()
    rates = {}
    print("| change, points | " + " | ".join(f"rolled back, {bound} | rows with the new model" for bound in COLORS) + " |")
    print("|---|" + "---|---|" * len(COLORS))
    for change in CHANGES if options.figure else (0.0, -MARGIN):
        cells = []
        for bound in COLORS:
            made = plan.made([plan.rate(plan.OUTCOME, BASELINE, -MARGIN)], [5, 20, 50], 1000, 0.05, 0.8, bound)
            found, exposed = simulated(made, change, options.runs, np.random.default_rng(42))
            rate = rates[change, bound] = rate_interval(found, np.arange(options.runs))
            cells.append(f"{100 * rate.mean:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}] | {exposed:,.0f}")
        print(f"| {100 * change:+g} | {' | '.join(cells)} |", flush=True)
    if options.figure:
        labels = {change: f"{100 * change:+g}" for change in CHANGES}
        title = "Share of roll-outs that are rolled back, by the change of the rate in points, with 95 % intervals"
        files.write_text(options.figure, drawing.intervals(rates, labels, COLORS, title, width=60))


if __name__ == "__main__":
    main()
