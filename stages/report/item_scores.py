"""The scores of single items, by system and metric.

Every system must have scored every item. `tuned` is the mean over the training seeds, item by item, so that it is compared
with a base system on the same items; `tuned_passage` is the same with a passage in the prompt, `aligned` after alignment.
`vote` is one system: the vote of the tuned ones; each kept adapter is one too.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stages import systems
from stages.errors import DataError
from stages.records import Example, Score
from stages.slices import TO_DECLINE
from stages.statistics import Array, Rate, rate_interval
from stages.systems import ALIGNED, BASE_PASSAGE, TUNED, TUNED_PASSAGE, VOTE


@dataclass(frozen=True)
class Table:
    """Scores of every system on the same items.

    `values[system]` has shape (items, metrics) and holds NaN where a metric does not apply to an item; `values["tuned"]`
    is the mean over the systems of `seeds`, `values["tuned_passage"]` over those of `with_passage` and `values["aligned"]` over
    those of `aligned`, if there are any. `sources` are the clusters. `datasets` are the slices that are data sets of a mixture.
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
    aligned: dict[int, str] = field(default_factory=dict)
    vote: bool = False
    kept: tuple[str, ...] = ()

    @property
    def means(self) -> dict[str, dict[int, str]]:
        """Return the systems by seed, of each mean over seeds."""
        means = {TUNED: self.seeds, TUNED_PASSAGE: self.with_passage, ALIGNED: self.aligned}
        return {mean: of for mean, of in means.items() if of or mean == TUNED}

    @property
    def systems(self) -> list[str]:
        """Return the columns of a report."""
        return [*self.bases, *self.means, *[VOTE] * self.vote, *self.kept]

    def sliced(self, best: str) -> list[str]:
        """Return the columns of a report's slices: best base and tuned; where they exist, both with the passage, aligned."""
        passage = [BASE_PASSAGE, TUNED_PASSAGE] if self.with_passage else []
        return list(dict.fromkeys([best, TUNED, *passage, *([ALIGNED] if self.aligned else [])]))

    def column(self, system: str, metric: str) -> Array:
        return self.values[system][:, self.metrics.index(metric)]

    def rate(self, system: str, metric: str) -> Rate:
        """Return the mean over the items to which the metric applies, with its interval."""
        scores = self.column(system, metric)
        applies = ~np.isnan(scores)
        return rate_interval(scores[applies], self.sources[applies])


def tabulate(
    scores: Iterable[Score],
    examples: Sequence[Example],
    bases: Sequence[str],
    seeds: dict[int, str],
    aligned: dict[int, str] | None = None,
    vote: bool = False,
    kept: Sequence[str] = (),
) -> Table:
    """Return scores by system and item; raise DataError where an item is missing, unknown, doubled or has other metrics."""
    if not examples:
        raise DataError("no rows to report on: the split is empty; give it rows (data.rows or data.valid, data.test)")
    with_passage, aligned = systems.with_passage(bases, seeds), aligned or {}
    names = [*bases, *seeds.values(), *with_passage.values(), *aligned.values(), *[VOTE] * vote, *kept]
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
    for mean, of in ((TUNED, seeds), (TUNED_PASSAGE, with_passage), (ALIGNED, aligned)):
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
        aligned=aligned,
        vote=vote,
        kept=tuple(kept),
    )


def lacking(table: Table, metric: str) -> str:
    """Return why no item has a metric or metric@slice, empty if one has."""
    plain, _, only = metric.partition("@")
    if metric in table.metrics:
        return ""
    if plain not in table.metrics:
        return f"not among the metrics; there are {', '.join(table.metrics)}"
    known = sorted({name for slices in table.slices for name in slices})
    return "" if only in known else f"no row is in the slice {only}; there are {', '.join(known) or 'none'}"


def with_slice(table: Table, metric: str) -> Table:
    """Return the table with a metric@slice, which only the items of that slice have, as its first metric."""
    if metric in table.metrics or lacking(table, metric):
        return table
    plain, _, only = metric.partition("@")
    inside = np.array([only in slices for slices in table.slices])
    columns = {system: np.where(inside, table.column(system, plain), np.nan) for system in table.values}
    values = {system: np.column_stack([columns[system], values]) for system, values in table.values.items()}
    return replace(table, metrics=(metric, *table.metrics), values=values)


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


def items(table: Table) -> list[dict[str, Any]]:
    """Return one row per item, without texts, for comparing two commits.

    `metrics` names what applies to the item; each system's scores have that order, and take a quarter of the space that they
    would with a name each.
    """
    singly = (
        *table.bases,
        *(system for of in table.means.values() for system in of.values()),
        *[VOTE] * table.vote,
        *table.kept,
    )
    scores = {system: table.values[system].tolist() for system in singly}
    absent = np.isnan(np.stack([table.values[system] for system in singly])).all(axis=0)
    columns = [np.flatnonzero(~row).tolist() for row in absent]
    return [
        {
            "id": id,
            "source": str(table.sources[row]),
            "slices": list(table.slices[row]),
            "metrics": [table.metrics[column] for column in columns[row]],
            "scores": {system: [_number(rows[row][column]) for column in columns[row]] for system, rows in scores.items()},
        }
        for row, id in enumerate(table.ids)
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else rounded(value)


def _complete(system: str, scores: dict[str, dict[str, float]], ids: list[str]) -> None:
    missing = [id for id in ids if id not in scores]
    if missing:
        raise DataError(
            f"scores: {system} lacks {len(missing)} of {len(ids)} examples, the first is {missing[0]}; run `dvc repro evaluate`"
        )
    if len(scores) > len(ids):
        extra = next(iter(scores.keys() - ids))
        raise DataError(f"scores: {system} scored {extra}, which is not in the split; run `dvc repro evaluate`")


def rounded(number: Any) -> float:
    return round(float(number), 6)
