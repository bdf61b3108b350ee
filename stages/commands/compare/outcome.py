"""Compare the scores of two runs: paired where both answered the same test rows, else side by side."""

from dataclasses import dataclass, replace
from math import hypot

import numpy as np

from stages.commands.compare.sides import Side
from stages.errors import DataError
from stages.report.item_scores import Table
from stages.report.summary import Change, changed
from stages.statistics import Rate
from stages.systems import TUNED

BASE, UNPAIRED = "base", "not comparable"


@dataclass(frozen=True)
class Row:
    """One metric of the tuned models of both runs, head minus base.

    The headline keeps its own `p`, since it was chosen before the scores were seen. That of any other metric is adjusted by
    Holm's method, as in the report. Where the runs answered different rows, `p` is None and the interval is that of Newcombe
    (1998, method 10) for two independent rates. `better` and `worse` count rows.
    """

    metric: str
    base: Rate
    head: Rate
    mean: float
    low: float
    high: float
    p: float | None
    outcome: str
    better: int = 0
    worse: int = 0


def same_rows(base: Side, head: Side) -> bool:
    """Return whether both answered the same rows; ids are hashes of the whole chat, so equal ids mean equal rows."""
    return base.items.keys() == head.items.keys() and base.results.split == head.results.split


def rows(base: Side, head: Side, headline: str, resamples: int, margin: float, seed: int) -> list[Row]:
    """Every metric that both runs have, the headline first; all start from the same seed, so they see the same resamples."""
    before, after = base.table.metrics, head.table.metrics
    if headline not in before or headline not in after:
        lacking = base if headline not in before else head
        names = [side.params.get("name") for side in (base, head)]
        reason = f": {base.name} is a run of {names[0]}, {head.name} one of {names[1]}" if names[0] != names[1] else ""
        raise DataError(
            f"{lacking.name}: has no {headline}, which is report.headline of {base.name}{reason}; name a commit with a "
            "run of the same task as --base"
        )
    shared = [headline, *(metric for metric in after if metric in before and metric != headline)]
    if not same_rows(base, head):
        return [_unpaired(metric, base.table.rate(TUNED, metric), head.table.rate(TUNED, metric)) for metric in shared]
    both = paired(base.table, head.table, shared)
    changes = changed(both, BASE, headline, resamples, seed, margin, shared)
    return [_row(both, metric, change) for metric, change in changes.items()]


def paired(base: Table, head: Table, metrics: list[str]) -> Table:
    """Return the tuned means of both runs as one table, where a metric applies to a row only if it does on both sides."""
    scores = [np.column_stack([side.column(TUNED, metric) for metric in metrics]) for side in (base, head)]
    before, after = (np.where(np.isnan(scores[0] + scores[1]), np.nan, found) for found in scores)
    return replace(base, metrics=tuple(metrics), bases=(BASE,), values={BASE: before, TUNED: after})


def _row(table: Table, metric: str, change: Change) -> Row:
    found, more = change.difference, table.column(TUNED, metric) - table.column(BASE, metric)
    return Row(
        metric=metric,
        base=table.rate(BASE, metric),
        head=table.rate(TUNED, metric),
        mean=found.mean,
        low=found.low,
        high=found.high,
        p=change.p,
        outcome=change.verdict,
        better=int(np.sum(more > 0)),
        worse=int(np.sum(more < 0)),
    )


def on_one_side(base: Side, head: Side) -> list[tuple[str, str]]:
    """Return the metrics that only one run has, each with the name of that side."""
    before, after = base.table.metrics, head.table.metrics
    return [(m, base.name) for m in before if m not in after] + [(m, head.name) for m in after if m not in before]


def untuned(base: Side, head: Side, metric: str) -> list[tuple[str, float, float]]:
    """Return untuned systems whose mean moved: prompts, rows, scoring or the model changed, not only the training."""
    shared = [name for name in base.table.bases if name in head.table.bases]
    means = [(name, overall(base, name, metric), overall(head, name, metric)) for name in shared]
    return [(name, before, after) for name, before, after in means if before != after]


def moved(base: Side, head: Side, metric: str) -> tuple[list[str], list[str]]:
    """Return the ids of fixed rows and of broken rows, the largest change first."""
    more = (head.table.column(TUNED, metric) - base.table.column(TUNED, metric)).tolist()
    change = {id: gained for id, gained in zip(head.table.ids, more, strict=True) if abs(gained) > 0}  # not where it is NaN
    ordered = sorted(change, key=lambda id: -abs(change[id]))
    return [id for id in ordered if change[id] > 0], [id for id in ordered if change[id] < 0]


def overall(side: Side, system: str, metric: str) -> float:
    """Return the mean of one system over the rows to which the metric applies."""
    return float(np.nanmean(side.table.column(system, metric)))


def _unpaired(metric: str, base: Rate, head: Rate) -> Row:
    mean = head.mean - base.mean
    low = mean - hypot(head.mean - head.low, base.high - base.mean)
    high = mean + hypot(head.high - head.mean, base.mean - base.low)
    return Row(metric, base, head, mean, low, high, None, UNPAIRED)
