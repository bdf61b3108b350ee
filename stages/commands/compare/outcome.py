"""Compare the scores of two runs: paired where both answered the same test rows, else side by side."""

from dataclasses import dataclass
from math import hypot

import numpy as np

from stages.commands.compare.sides import Item, Side
from stages.errors import DataError
from stages.statistics import Array, Rate, holm, paired_difference, rate_interval, verdict

UNPAIRED = "not comparable"


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
    return base.items.keys() == head.items.keys() and base.results.get("split") == head.results.get("split")


def rows(base: Side, head: Side, headline: str, resamples: int, margin: float, seed: int) -> list[Row]:
    """Every metric that both runs have, the headline first; all start from the same seed, so they see the same resamples."""
    before, after = (_metrics(side) for side in (base, head))
    if headline not in before or headline not in after:
        lacking = base if headline not in before else head
        raise DataError(f"{lacking.name}: {headline}, report.headline of {base.name}, is not among the metrics of its items")
    shared = [headline, *(metric for metric in after if metric in before and metric != headline)]
    if not same_rows(base, head):
        return [_unpaired(metric, _answered(base, metric), _answered(head, metric)) for metric in shared]
    pairs = [_pairs(base, head, metric) for metric in shared]
    found = [paired_difference(b, a, sources, resamples, np.random.default_rng(seed)) for a, b, sources in pairs]
    p_values = [found[0].p, *holm([difference.p for difference in found])[1:]]
    return [
        Row(
            metric=metric,
            base=rate_interval(a, sources),
            head=rate_interval(b, sources),
            mean=difference.mean,
            low=difference.low,
            high=difference.high,
            p=p,
            outcome=verdict(difference.low, difference.high, p, margin),
            better=int(np.sum(b > a)),
            worse=int(np.sum(b < a)),
        )
        for metric, (a, b, sources), difference, p in zip(shared, pairs, found, p_values, strict=True)
    ]


def on_one_side(base: Side, head: Side) -> list[tuple[str, str]]:
    """Return the metrics that only one run has, each with the name of that side."""
    before, after = (dict.fromkeys(_metrics(side)) for side in (base, head))
    return [(m, base.name) for m in before if m not in after] + [(m, head.name) for m in after if m not in before]


def untuned(base: Side, head: Side, metric: str) -> list[tuple[str, float, float]]:
    """Return untuned systems whose mean moved: prompts, rows, scoring or the model changed, not only the training."""
    shared = [name for name in _systems(base) if name in _systems(head) and not name.startswith("tuned_")]
    means = [(name, overall(base, name, metric), overall(head, name, metric)) for name in shared]
    return [(name, before, after) for name, before, after in means if before != after]


def moved(base: Side, head: Side, metric: str) -> tuple[list[str], list[str]]:
    """Return the ids of fixed rows and of broken rows, the largest change first."""
    change = {id: _mean(head.items[id], head.tuned, metric) - _mean(base.items[id], base.tuned, metric) for id in head.items}
    ordered = sorted((id for id in change if abs(change[id]) > 0), key=lambda id: -abs(change[id]))
    return [id for id in ordered if change[id] > 0], [id for id in ordered if change[id] < 0]


def overall(side: Side, system: str, metric: str) -> float:
    """Return the mean of one system over the rows to which the metric applies."""
    return float(np.nanmean(_scores(side, [system], metric)))


def fails_gate(headline: Row, margin: float) -> bool:
    """Return whether the loss is significant and its whole interval is beyond `margin`."""
    return headline.outcome == "worse" and headline.high < -margin


def _pairs(base: Side, head: Side, metric: str) -> tuple[Array, Array, Array]:
    """Return the scores of both runs and the source of each row to which the metric applies on both sides."""
    before, after = _scores(base, base.tuned, metric), _scores(head, head.tuned, metric)
    both = ~np.isnan(before) & ~np.isnan(after)
    return before[both], after[both], _sources(base)[both]


def _answered(side: Side, metric: str) -> Rate:
    scores = _scores(side, side.tuned, metric)
    applies = ~np.isnan(scores)
    return rate_interval(scores[applies], _sources(side)[applies])


def _unpaired(metric: str, base: Rate, head: Rate) -> Row:
    mean = head.mean - base.mean
    low = mean - hypot(head.mean - head.low, base.high - base.mean)
    high = mean + hypot(head.high - head.mean, base.mean - base.low)
    return Row(metric, base, head, mean, low, high, None, UNPAIRED)


def _metrics(side: Side) -> list[str]:
    system = side.tuned[0]
    return list(dict.fromkeys(metric for item in side.items.values() for metric in item.scores[system]))


def _systems(side: Side) -> list[str]:
    return list(next(iter(side.items.values())).scores)


def _scores(side: Side, systems: list[str], metric: str) -> Array:
    """Return the mean over `systems` (one per training seed) for each row; NaN where the metric does not apply."""
    return np.array([_mean(item, systems, metric) for item in side.items.values()])


def _mean(item: Item, systems: list[str], metric: str) -> float:
    return float(np.mean([item.scores[system].get(metric, np.nan) for system in systems]))


def _sources(side: Side) -> Array:
    return np.array([item.source for item in side.items.values()])
