"""From the scores of single items to the numbers of details.json and metrics.json.

Every system must have scored every item. `tuned` is the mean over the training seeds, item by item, so that it is compared
with a base system on the same items.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.errors import DataError
from stages.formatting import METRICS
from stages.records import Example, Score
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

TUNED, PASSAGE = "tuned", "base_passage"
BALANCED = "decline_balanced"
MAIN_TOTALS = ("bleu", "chrf", "macro_f1", BALANCED)  # what papers report of a kind of task and no mean over items gives
RETENTION = ("bits_per_byte", "choice_accuracy", "refusal_rate")


@dataclass(frozen=True)
class Table:
    """Scores of every system on the same items.

    `values[system]` has shape (items, metrics) and holds NaN where a metric does not apply to an item; `values["tuned"]`
    is the mean over the systems of `seeds`. `sources` are the clusters.
    """

    ids: tuple[str, ...]
    sources: Array
    slices: tuple[tuple[str, ...], ...]
    metrics: tuple[str, ...]
    bases: tuple[str, ...]
    seeds: dict[int, str]
    values: dict[str, Array]

    def column(self, system: str, metric: str) -> Array:
        return self.values[system][:, self.metrics.index(metric)]


def tabulate(scores: Iterable[Score], examples: Sequence[Example], bases: Sequence[str], seeds: dict[int, str]) -> Table:
    """Arrange scores by system and item; DataError where an item is missing, unknown, doubled or measured by other metrics."""
    if not examples:
        raise DataError("no rows to report on: the split is empty; give it rows (data.rows or data.valid, data.test)")
    systems = [*bases, *seeds.values()]
    found: dict[str, dict[str, Score]] = {system: {} for system in systems}
    for score in scores:
        if score.system in found:
            if score.example in found[score.system]:
                raise DataError(f"scores: {score.system} scored {score.example} twice; run `dvc repro -f evaluate`")
            found[score.system][score.example] = score
    ids = [example.id for example in examples]
    for system in systems:
        _complete(system, found[system], ids)
    first = [found[systems[0]][id] for id in ids]
    metrics = list(dict.fromkeys(metric for score in first for metric in score.scores))
    for system in systems:
        for mine, reference in zip((found[system][id] for id in ids), first, strict=True):
            if set(mine.scores) != set(reference.scores):
                raise DataError(f"scores: {system} has other metrics than {systems[0]} on {mine.example}")
    values = {s: np.array([[found[s][id].scores.get(m, np.nan) for m in metrics] for id in ids]) for s in systems}
    values[TUNED] = np.mean([values[system] for system in seeds.values()], axis=0)
    return Table(
        ids=tuple(ids),
        sources=np.array([score.source for score in first]),
        slices=tuple(score.slices for score in first),
        metrics=tuple(metrics),
        bases=tuple(bases),
        seeds=seeds,
        values=values,
    )


def narrowed(table: Table, headline: str) -> Table:
    """With a headline of the form metric@slice: the metric once more, first, for the items of that slice alone."""
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


def best_base(table: Table, headline: str) -> str:
    """The base system with the highest headline metric; of equals the first listed."""
    if headline not in table.metrics:
        raise DataError(f"report.headline = {headline}: not among the metrics; there are {', '.join(table.metrics)}")
    return max(table.bases, key=lambda system: float(np.nanmean(table.column(system, headline))))


def summarize(table: Table, headline: str, resamples: int, seed: int, split: str, margin: float) -> dict[str, Any]:
    """The nested numbers of details.json: rates by system, tuned minus best base, slices, and seeds where there are several.

    `passage`: the headline of tuned, closed-book, minus that of the base with the passage in its prompt, where it was asked.
    """
    best = best_base(table, headline)
    metrics: dict[str, Any] = {system: _rates(table, system) for system in (TUNED, *table.bases)}
    metrics["difference"] = {"against": best, **_differences(table, best, headline, resamples, seed, margin)}
    if PASSAGE in table.bases and best != PASSAGE:
        metrics["passage"] = _differences(table, PASSAGE, headline, resamples, seed, margin, [headline])
    metrics["slices"] = _slices(table, headline, best)
    if len(table.seeds) > 1:
        means = np.array([np.nanmean(table.values[system], axis=0) for system in table.seeds.values()])
        spread = zip(table.metrics, means.std(axis=0, ddof=1), strict=True)
        metrics[TUNED] |= {f"{metric}_sd": rounded(deviation) for metric, deviation in spread}
        metrics["seeds"] = {
            str(number): {metric: rounded(mean) for metric, mean in zip(table.metrics, row, strict=True)}
            for number, row in zip(table.seeds, means, strict=True)
        }
    metrics["split"] = split
    return metrics


def with_interval(totals: dict[str, Any], table: Table, system: str) -> dict[str, Any]:
    """A system's totals, with the interval of the balanced accuracy of declining, which is the mean of two rates."""
    if BALANCED not in totals:
        return totals
    columns = [table.column(system, metric) for metric in ("declined", "answered")]
    rates = [rate_interval(column[~np.isnan(column)], table.sources[~np.isnan(column)]) for column in columns]
    _, low, high = mean_of_rates(rates)
    return totals | {f"{BALANCED}_lo": rounded(low), f"{BALANCED}_hi": rounded(high)}


def shown(details: dict[str, Any], headline: str) -> dict[str, Any]:
    """Return metrics.json, the part of `details` that fits a screen of `dvc metrics diff`.

    Every system has the headline. The tuned one also has the metrics that `formatting.METRICS` names, which leaves out single
    fields, its spread between seeds and its main totals. Retention is shown before and after, with its verdicts.
    """
    main = [metric for metric in details[TUNED] if metric in METRICS]
    keys = {
        TUNED: (headline, *main, f"{headline}_sd", "n"),
        **{system: (headline,) for system in details if system.startswith("base_")},
        "difference": ("against", headline, f"{headline}_verdict"),
    }
    verdicts = [f"{measure}_verdict" for measure in RETENTION]
    totals = {
        system: _chosen(numbers, MAIN_TOTALS) for system, numbers in details["totals"].items() if system.startswith(TUNED)
    }
    return {
        **{name: _chosen(details[name], chosen) for name, chosen in keys.items()},
        **({"totals": totals} if any(totals.values()) else {}),
        "retention": {
            side: _chosen(details["retention"][side], keys)
            for side, keys in (("base", RETENTION), (TUNED, RETENTION), ("difference", verdicts))
        },
        "split": details["split"],
    }


def merged(metrics: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """Return all numbers of a report; details.json alone has them but in older reports, which divide them between the files."""
    both = {name: metrics[name] | details[name] for name in metrics.keys() & details.keys() if isinstance(details[name], dict)}
    return metrics | details | both


def _chosen(numbers: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: numbers[key] for key in keys if key in numbers}


def items(table: Table) -> list[dict[str, Any]]:
    """One row an item, without texts: what two commits are compared by."""
    return [
        {
            "id": id,
            "source": str(table.sources[row]),
            "slices": list(table.slices[row]),
            "scores": {system: _applicable(table, system, row) for system in (*table.bases, *table.seeds.values())},
        }
        for row, id in enumerate(table.ids)
    ]


def _applicable(table: Table, system: str, row: int) -> dict[str, float]:
    pairs = zip(table.metrics, table.values[system][row], strict=True)
    return {metric: rounded(value) for metric, value in pairs if not np.isnan(value)}


def _complete(system: str, scores: dict[str, Score], ids: list[str]) -> None:
    missing = [id for id in ids if id not in scores]
    if missing:
        raise DataError(
            f"scores: {system} lacks {len(missing)} of {len(ids)} examples, the first is {missing[0]}; run `dvc repro evaluate`"
        )
    if len(scores) > len(ids):
        extra = next(id for id in scores if id not in set(ids))
        raise DataError(f"scores: {system} scored {extra}, which is not in the split; run `dvc repro evaluate`")


def _rates(table: Table, system: str, metrics: Sequence[str] = (), rows: Array | None = None) -> dict[str, Any]:
    """`<metric>`, `_lo`, `_hi` of each metric over the chosen rows, then n and clusters; its own where it has fewer items."""
    rows = np.full(len(table.ids), True) if rows is None else rows
    numbers: dict[str, Any] = {}
    for metric in metrics or table.metrics:
        scores = table.column(system, metric)
        applies = rows & ~np.isnan(scores)
        if not applies.any():
            continue
        rate = rate_interval(scores[applies], table.sources[applies])
        numbers |= flat(metric, rate)
        if rate.n < rows.sum():
            numbers |= {f"{metric}_n": rate.n, f"{metric}_clusters": rate.clusters}
    return numbers | {"n": int(rows.sum()), "clusters": len(set(table.sources[rows]))}


def _differences(
    table: Table, best: str, headline: str, resamples: int, seed: int, margin: float, metrics: Sequence[str] = ()
) -> dict[str, float | int | str]:
    """Each metric starts from the same seed: all see the same resamples, and a new metric leaves the others as they were.

    The headline was named before the scores were seen, so its verdict rests on its own p; that of any other on Holm's.
    """
    found, rows = {}, {}
    for metric in metrics or table.metrics:
        tuned, base = table.column(TUNED, metric), table.column(best, metric)
        applies, generator = ~np.isnan(tuned), np.random.default_rng(seed)
        found[metric] = paired_difference(tuned[applies], base[applies], table.sources[applies], resamples, generator)
        rows[metric] = int(applies.sum())
    numbers: dict[str, float | int | str] = {}
    for (metric, difference), adjusted in zip(found.items(), holm([d.p for d in found.values()]), strict=True):
        low, high, p = difference.low, difference.high, difference.p if metric == headline else adjusted
        outcome = verdict(low, high, p, margin)
        numbers |= flat(metric, difference)
        numbers |= {f"{metric}_p_holm": rounded(adjusted), f"{metric}_verdict": outcome}
        if outcome == "underpowered":
            numbers[f"{metric}_rows_needed"] = rows_needed(rows[metric], low, high, margin)
    return numbers


def _slices(table: Table, headline: str, best: str) -> dict[str, Any]:
    names = dict.fromkeys(name for slices in table.slices for name in slices)
    rows = {name: np.array([name in slices for slices in table.slices]) for name in names}
    metric = headline.partition("@")[0]
    return {name: {s: _rates(table, s, [metric], rows[name]) for s in (TUNED, best)} for name in sorted(names)}


def flat(name: str, found: Rate | Difference) -> dict[str, float]:
    """`name`, `name_lo`, `name_hi`, and of a difference `name_p` and `name_mde`, rounded as details.json holds them."""
    numbers = {name: found.mean, f"{name}_lo": found.low, f"{name}_hi": found.high}
    if isinstance(found, Difference):
        numbers |= {f"{name}_p": found.p, f"{name}_mde": found.mde}
    return {key: rounded(number) for key, number in numbers.items()}


def rounded(number: Any) -> float:
    return round(float(number), 6)
