"""Print and draw the scores of systems of a report, for studies of votes and of combined adapters.

    python bench/systems.py reports/complaints_grpo tuned_42 tuned_43 tuned_44 vote --figure docs/studies/vote.svg
        [--metrics field_exact record_exact] [--against vote]

Means of all rows with 95 % intervals by source. With `--against`, also the paired differences of that system to each other
one, as a report computes them.
"""

import argparse
from pathlib import Path

import drawing
import numpy as np
from arms import interval, items

from stages import files
from stages.statistics import Difference, paired_difference, rate_interval

COLORS = ("#1b6ca8", "#b45309", "#2e7d32", "#7b1fa2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("systems", nargs="+")
    parser.add_argument("--metrics", nargs="+", default=["field_exact", "record_exact"])
    parser.add_argument("--against")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    rows = items(options.report)
    sources = np.array([row.source for row in rows])
    if unknown := [name for name in options.systems if name not in rows[0].scores]:
        raise SystemExit(f"error: {options.report} has no system {unknown[0]}; it has {', '.join(rows[0].scores)}")
    rates = {}
    print(f"| percent of {len(rows)} rows | {' | '.join(options.systems)} |\n|---|" + "---|" * len(options.systems))
    for metric in options.metrics:
        scores = {name: np.array([row.scores[name][metric] for row in rows]) for name in options.systems}
        for name, found in scores.items():
            rates[name, metric] = rate_interval(found, sources)
        found = [rates[name, metric] for name in options.systems]
        cells = [f"{100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]" for rate in found]
        print(f"| {metric} | {' | '.join(cells)} |")
        if options.against:
            gaps = [
                "" if name == options.against else interval(gap(scores[options.against], scores[name], sources), 100, 1)
                for name in options.systems
            ]
            print(f"| {metric}, {options.against} − it | {' | '.join(gaps)} |")
    if options.figure:
        labels = {name: name.replace("_", " ") for name in options.systems}
        colors = dict(zip(options.metrics, COLORS, strict=False))
        title = f"{', '.join(options.metrics)} of the systems in {options.report}, with 95 % intervals"
        files.write_text(options.figure, drawing.intervals(rates, labels, colors, title, width=90))


def gap(one: np.ndarray, other: np.ndarray, sources: np.ndarray) -> Difference:
    return paired_difference(one, other, sources, 10_000, np.random.default_rng(0))


if __name__ == "__main__":
    main()
