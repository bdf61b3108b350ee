"""From the scores of single items to rates, differences and verdicts.

Every system must have scored every item. `tuned` is the mean over the training seeds, item by item, so that it is compared
with a base system on the same items; `tuned_passage` is the same with a passage in the prompt.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stages import systems
from stages.errors import DataError
from stages.records import Example, Score
from stages.report.evidence import Number
from stages.slices import TO_DECLINE
from stages.statistics import (
    Array,
    Difference,
    Rate,
    holm,
    mean_of_rates,
    paired_difference,
    rate_interval,
    rows_needed,
    verdict,
)
from stages.systems import BASE_PASSAGE, TUNED, TUNED_PASSAGE

BALANCED = "decline_balanced"


@dataclass(frozen=True)
class Table:
    """Scores of every system on the same items.

    `values[system]` has shape (items, metrics) and holds NaN where a metric does not apply to an item; `values["tuned"]`
    is the mean over the systems of `seeds`, `values["tuned_passage"]` over those of `with_passage`, if there are any. `sources`
    are the clusters. `datasets` are the slices that are data sets of a mixture.
    """

    ids: tuple[str, ...]
    sources: Array
    slices: tuple[tuple[str, ...], ...]
    metrics: tuple[str, ...]
    bases: tuple[str, ...]
    seeds: dict[int, str]
    values: dict[str, Array]
    datasets: tuple[str, ...] = ()
    with_passage: dict[int, str] = field(default_factory=dict)

    @property
    def tuned(self) -> dict[str, dict[int, str]]:
        """Return the systems by seed, of each mean over seeds."""
        return {TUNED: self.seeds} | ({TUNED_PASSAGE: self.with_passage} if self.with_passage else {})

    @property
    def systems(self) -> list[str]:
        """Return the columns of a report."""
        return [*self.bases, *self.tuned]

    def sliced(self, best: str) -> list[str]:
        """Return the columns of a report's slices: the best base, tuned, and both with the passage if there are any."""
        return list(dict.fromkeys([best, TUNED, *([BASE_PASSAGE, TUNED_PASSAGE] if self.with_passage else [])]))

    def column(self, system: str, metric: str) -> Array:
        return self.values[system][:, self.metrics.index(metric)]

    def rate(self, system: str, metric: str) -> Rate:
        """Return the mean over the items to which the metric applies, with its interval."""
        scores = self.column(system, metric)
        applies = ~np.isnan(scores)
        return rate_interval(scores[applies], self.sources[applies])


@dataclass(frozen=True)
class Group:
    """The rates of one system over `n` rows; a metric that applies to none of them is absent."""

    rates: dict[str, Rate]
    n: int
    clusters: int


@dataclass(frozen=True)
class Change:
    """A tuned model minus a base system on one metric; `rows_needed` is None unless the verdict is underpowered."""

    difference: Difference
    p: float
    p_holm: float
    verdict: str
    rows_needed: int | None


@dataclass(frozen=True)
class Summary:
    """What the scores show: rates by system, tuned minus the best base, the headline by slice, and the training seeds.

    `passage` is the headline of tuned, closed-book, minus that of the base with the passage in its prompt, if it was requested.
    `open_book` is tuned minus base where both have the passage, by metric; it is empty if that was not requested. `seeds`
    (means by metric) and `spread` (their standard deviation by system and metric) are empty where there is one seed.
    `datasets` has the tuned model and the best base on each data set of a mixture, in all metrics that it has.
    """

    split: str
    headline: str
    best: str
    systems: dict[str, Group]
    changes: dict[str, Change]
    passage: Change | None
    slices: dict[str, dict[str, Group]]
    seeds: dict[int, dict[str, float]]
    spread: dict[str, dict[str, float]]
    datasets: dict[str, dict[str, Group]] = field(default_factory=dict)
    open_book: dict[str, Change] = field(default_factory=dict)

    @property
    def tuned(self) -> Group:
        return self.systems[TUNED]


def tabulate(scores: Iterable[Score], examples: Sequence[Example], bases: Sequence[str], seeds: dict[int, str]) -> Table:
    """Return scores by system and item; raise DataError where an item is missing, unknown, doubled or has other metrics."""
    if not examples:
        raise DataError("no rows to report on: the split is empty; give it rows (data.rows or data.valid, data.test)")
    with_passage = systems.with_passage(bases, seeds)
    names = [*bases, *seeds.values(), *with_passage.values()]
    found: dict[str, dict[str, dict[str, float]]] = {system: {} for system in names}
    rows: dict[str, tuple[str, tuple[str, ...]]] = {}  # source and slices; keeping whole records would take more memory
    for score in scores:
        if score.system in found:
            if score.example in found[score.system]:
                raise DataError(f"scores: {score.system} scored {score.example} twice; run `dvc repro -f evaluate`")
            found[score.system][score.example] = score.scores
            rows.setdefault(score.example, (score.source, score.slices))
    ids = [example.id for example in examples]
    for system in names:
        _complete(system, found[system], ids)
    first = [found[names[0]][id] for id in ids]
    metrics = list(dict.fromkeys(metric for scored in first for metric in scored))
    for system in names:
        for id, reference in zip(ids, first, strict=True):
            if found[system][id].keys() != reference.keys():
                raise DataError(f"scores: {system} has other metrics than {names[0]} on {id}")
    values = {s: np.array([[found[s][id].get(m, np.nan) for m in metrics] for id in ids]) for s in names}
    for mean, of in ((TUNED, seeds), (TUNED_PASSAGE, with_passage)):
        if of:
            values[mean] = np.mean([values[system] for system in of.values()], axis=0)
    return Table(
        ids=tuple(ids),
        sources=np.array([rows[id][0] for id in ids]),
        slices=tuple(rows[id][1] for id in ids),
        metrics=tuple(metrics),
        bases=tuple(bases),
        seeds=seeds,
        values=values,
        datasets=tuple(dict.fromkeys(example.dataset for example in examples if example.dataset)),
        with_passage=with_passage,
    )


def with_headline(table: Table, headline: str) -> Table:
    """Return the table with a headline metric@slice as its first metric, which only the items of that slice have."""
    metric, _, only = headline.partition("@")
    if not only or metric not in table.metrics:
        return table
    inside = np.array([only in slices for slices in table.slices])
    if not inside.any():
        known = ", ".join(sorted({name for slices in table.slices for name in slices})) or "none"
        raise DataError(f"report.headline = {headline}: no row is in the slice {only}; there are {known}")
    columns = {system: np.where(inside, table.column(system, metric), np.nan) for system in table.values}
    values = {system: np.column_stack([columns[system], values]) for system, values in table.values.items()}
    return replace(table, metrics=(headline, *table.metrics), values=values)


def with_declined(table: Table) -> Table:
    """Return the table with the metric `declined@slice` for each slice to decline, if the rows are in several of them."""
    present = [name for name in TO_DECLINE if any(name in slices for slices in table.slices)]
    names = [name for name in (f"declined@{only}" for only in present) if name not in table.metrics]
    if len(present) < 2 or "declined" not in table.metrics:
        return table
    inside = [np.array([name.partition("@")[2] in slices for slices in table.slices]) for name in names]
    values = {
        system: np.column_stack([values, *(np.where(rows, table.column(system, "declined"), np.nan) for rows in inside)])
        for system, values in table.values.items()
    }
    return replace(table, metrics=(*table.metrics, *names), values=values)


def best_base(table: Table, headline: str) -> str:
    """Return the base system with the highest headline metric; the first listed of equal ones."""
    if headline not in table.metrics:
        raise DataError(f"report.headline = {headline}: not among the metrics; there are {', '.join(table.metrics)}")
    return max(table.bases, key=lambda system: float(np.nanmean(table.column(system, headline))))


def summarize(table: Table, headline: str, resamples: int, seed: int, split: str, margin: float) -> Summary:
    """Compare the tuned mean with the best base system on every metric, and the headline on every slice."""
    best = best_base(table, headline)
    everywhere = np.full(len(table.ids), True)
    inside = {
        name: np.array([name in slices for slices in table.slices]) for name in sorted({n for s in table.slices for n in s})
    }
    plain = headline.partition("@")[0]
    unsliced = [metric for metric in table.metrics if metric == plain or metric != headline]
    seeds: dict[int, dict[str, float]] = {}
    spread: dict[str, dict[str, float]] = {}
    if len(table.seeds) > 1:
        means = {s: np.array([np.nanmean(table.values[one], axis=0) for one in of.values()]) for s, of in table.tuned.items()}
        spread = {s: dict(zip(table.metrics, rows.std(axis=0, ddof=1).tolist(), strict=True)) for s, rows in means.items()}
        seeds = {
            seed: dict(zip(table.metrics, row, strict=True))
            for seed, row in zip(table.seeds, means[TUNED].tolist(), strict=True)
        }

    def changes(base: str, metrics: Sequence[str], tuned: str = TUNED) -> dict[str, Change]:
        return changed(table, base, headline, resamples, seed, margin, metrics, tuned)

    return Summary(
        split=split,
        headline=headline,
        best=best,
        systems={system: _group(table, system, table.metrics, everywhere) for system in (TUNED, *table.systems)},
        changes=changes(best, table.metrics),
        passage=changes(BASE_PASSAGE, [headline])[headline] if table.with_passage and best != BASE_PASSAGE else None,
        open_book=changes(BASE_PASSAGE, table.metrics, TUNED_PASSAGE) if table.with_passage else {},
        slices={
            name: {s: _group(table, s, [plain], rows) for s in table.sliced(best)}
            for name, rows in inside.items()
            if name not in table.datasets
        },
        datasets={name: {s: _group(table, s, unsliced, inside[name]) for s in (TUNED, best)} for name in table.datasets},
        seeds=seeds,
        spread=spread,
    )


def with_interval(totals: dict[str, Number], table: Table, system: str) -> dict[str, Number | None]:
    """Return a system's totals with an interval for the balanced accuracy of declining, the mean of two rates."""
    if BALANCED not in totals:
        return {**totals}
    columns = [table.column(system, metric) for metric in ("declined", "answered")]
    rates = [rate_interval(column[~np.isnan(column)], table.sources[~np.isnan(column)]) for column in columns]
    _, low, high = mean_of_rates(rates)
    return {**totals, f"{BALANCED}_lo": rounded(low), f"{BALANCED}_hi": rounded(high)}


def questions(totals: Mapping[str, Mapping[str, Number | None]]) -> dict[str, Number | None]:
    """Return the number of questions by data set, "" for all, where some come in several orders; it is that of any system."""
    named = [(name.partition("@"), value) for name, value in next(iter(totals.values()), {}).items()]
    return {dataset: value for (name, _, dataset), value in named if name == "questions"}


def items(table: Table) -> list[dict[str, Any]]:
    """Return one row per item, without texts, for comparing two commits."""
    singly = (*table.bases, *(system for of in table.tuned.values() for system in of.values()))
    scores = {system: table.values[system].tolist() for system in singly}
    return [
        {
            "id": id,
            "source": str(table.sources[row]),
            "slices": list(table.slices[row]),
            "scores": {system: _applicable(table.metrics, rows[row]) for system, rows in scores.items()},
        }
        for row, id in enumerate(table.ids)
    ]


def _applicable(metrics: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {metric: rounded(value) for metric, value in zip(metrics, values, strict=True) if not math.isnan(value)}


def _complete(system: str, scores: dict[str, dict[str, float]], ids: list[str]) -> None:
    missing = [id for id in ids if id not in scores]
    if missing:
        raise DataError(
            f"scores: {system} lacks {len(missing)} of {len(ids)} examples, the first is {missing[0]}; run `dvc repro evaluate`"
        )
    if len(scores) > len(ids):
        extra = next(iter(scores.keys() - ids))
        raise DataError(f"scores: {system} scored {extra}, which is not in the split; run `dvc repro evaluate`")


def _group(table: Table, system: str, metrics: Sequence[str], rows: Array) -> Group:
    rates = {}
    for metric in metrics:
        scores = table.column(system, metric)
        applies = rows & ~np.isnan(scores)
        if applies.any():
            rates[metric] = rate_interval(scores[applies], table.sources[applies])
    return Group(rates, int(rows.sum()), len(set(table.sources[rows])))


def changed(
    table: Table,
    base: str,
    headline: str,
    resamples: int,
    seed: int,
    margin: float,
    metrics: Sequence[str],
    tuned: str = TUNED,
) -> dict[str, Change]:
    """Return `tuned` minus `base` by metric, each from the same seed, so that a new metric leaves the others unchanged.

    The headline was named before the scores were seen, so its verdict uses its own p-value. The others use Holm's.
    """
    differences, rows = [], []
    for metric in metrics:
        after, before = table.column(tuned, metric), table.column(base, metric)
        applies, generator = ~np.isnan(after), np.random.default_rng(seed)
        differences.append(paired_difference(after[applies], before[applies], table.sources[applies], resamples, generator))
        rows.append(int(applies.sum()))
    changes = {}
    for metric, d, holms, n in zip(metrics, differences, holm([d.p for d in differences]), rows, strict=True):
        p = d.p if metric == headline else holms
        outcome = verdict(d.low, d.high, p, margin)
        needed = rows_needed(n, d.low, d.high, margin) if outcome == "underpowered" else None
        changes[metric] = Change(d, p, holms, outcome, needed)
    return changes


def rounded(number: Any) -> float:
    return round(float(number), 6)
