"""From the scores of single items to rates, differences and verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.errors import DataError
from stages.report.evidence import Number
from stages.report.item_scores import Table, lacking, rounded
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
from stages.systems import ALIGNED, BASE_PASSAGE, TUNED, TUNED_PASSAGE, VOTE

BALANCED = "decline_balanced"


@dataclass(frozen=True)
class Group:
    """The rates of one system over `n` rows; a metric that applies to none of them is absent."""

    rates: dict[str, Rate]
    n: int
    clusters: int


@dataclass(frozen=True)
class Change:
    """One model minus another on one metric, tuned or aligned minus base, or aligned minus tuned.

    `rows_needed` is None unless the verdict is underpowered.
    """

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
    `aligned_minus_tuned` and `aligned_minus_base`, against the best base, are empty where nothing was aligned.
    `vote_minus_tuned` compares the vote with the tuned mean, `vote_minus_member` with `member`, the best model on these rows of
    those that voted; both are empty without a vote. `kept_minus_tuned` compares each kept adapter with the tuned mean.
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
    aligned_minus_tuned: dict[str, Change] = field(default_factory=dict)
    aligned_minus_base: dict[str, Change] = field(default_factory=dict)
    member: str = ""
    vote_minus_tuned: dict[str, Change] = field(default_factory=dict)
    vote_minus_member: dict[str, Change] = field(default_factory=dict)
    kept_minus_tuned: dict[str, dict[str, Change]] = field(default_factory=dict)

    @property
    def tuned(self) -> Group:
        return self.systems[TUNED]


def best_base(table: Table, headline: str) -> str:
    """Return the base system with the highest headline metric; the first listed of equal ones."""
    if found := lacking(table, headline):
        raise DataError(f"report.headline = {headline}: {found}")
    return _best(table, table.bases, headline)


def _best(table: Table, systems: Iterable[str], headline: str) -> str:
    return max(systems, key=lambda system: float(np.nanmean(table.column(system, headline))))


def summarize(table: Table, headline: str, resamples: int, seed: int, split: str, margin: float) -> Summary:
    """Compare the tuned mean with the best base system on every metric, and the headline on every slice."""
    best, member = best_base(table, headline), _best(table, [*table.seeds.values(), *table.kept], headline)
    everywhere = np.full(len(table.ids), True)
    inside = {
        name: np.array([name in slices for slices in table.slices]) for name in sorted({n for s in table.slices for n in s})
    }
    plain = headline.partition("@")[0]
    unsliced = [metric for metric in table.metrics if metric == plain or metric != headline]
    seeds: dict[int, dict[str, float]] = {}
    spread: dict[str, dict[str, float]] = {}
    if len(table.seeds) > 1:
        means = {s: np.array([np.nanmean(table.values[one], axis=0) for one in of.values()]) for s, of in table.means.items()}
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
        aligned_minus_tuned=changes(TUNED, table.metrics, ALIGNED) if table.aligned else {},
        aligned_minus_base=changes(best, table.metrics, ALIGNED) if table.aligned else {},
        member=member if table.vote else "",
        vote_minus_tuned=changes(TUNED, table.metrics, VOTE) if table.vote else {},
        vote_minus_member=changes(member, table.metrics, VOTE) if table.vote else {},
        kept_minus_tuned={system: changes(TUNED, table.metrics, system) for system in table.kept},
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
