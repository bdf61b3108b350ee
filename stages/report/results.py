"""The numbers of a report: all of them in details.json, those that fit a screen in metrics.json."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from stages.formatting import METRICS
from stages.kept.names import is_kept
from stages.params.headline import RETENTION
from stages.report.item_scores import rounded
from stages.report.summary import BALANCED, Change, Group, Summary
from stages.statistics import Difference, Rate
from stages.systems import ALIGNED, TUNED, TUNED_PASSAGE, VOTE

MAIN_TOTALS = ("bleu", "chrf", "macro_f1", BALANCED)  # what papers report of a kind of task and no mean over items gives
AFTER = (
    "aligned_minus_tuned",
    "aligned_minus_base",
    "alignment",
    "pairs",
    "vote_minus_tuned",
    "vote_minus_member",
    "kept_minus_tuned",
    "feedback",
)
Number = int | float | str | None  # a text is a verdict, the name of a system, or says how another one was computed
Numbers = dict[str, Number]  # by metric; with `_lo`, `_hi`, `_p`, `_mde` or `_verdict` after it, what belongs to it


@dataclass(frozen=True)
class Results:
    """What details.json holds, rounded.

    `difference` is tuned minus the best base, `passage` tuned minus a base that reads a passage, `open_book` the same if both
    read it. `slices`, and `datasets` of a mixture, are keyed by name and system, `totals` by system, `synthesis` by method,
    `seeds` by seed. `retention` has `base`, `tuned` and `difference`, after alignment also `aligned` and `aligned_minus_tuned`;
    its other keys are numbers of items, and chance. `alignment` holds the means over seeds of its last look at validation rows,
    `pairs` the counts of pairs. `vote_minus_tuned` and `vote_minus_member` are the vote minus the tuned mean
    and minus the best of the models that voted, `kept_minus_tuned` each kept adapter, by its system, minus the tuned mean.
    `feedback` holds the votes of users, by system and the hash of its weights.
    """

    systems: Mapping[str, Numbers]
    difference: Numbers
    split: str
    passage: Numbers | None = None
    open_book: Numbers | None = None
    slices: Mapping[str, Mapping[str, Numbers]] | None = None
    datasets: Mapping[str, Mapping[str, Numbers]] | None = None
    seeds: Mapping[str, Numbers] | None = None
    totals: Mapping[str, Numbers] | None = None
    retention: Mapping[str, Numbers | Number] | None = None
    synthesis: Mapping[str, Numbers] | None = None
    aligned_minus_tuned: Numbers | None = None
    aligned_minus_base: Numbers | None = None
    alignment: Numbers | None = None
    pairs: Numbers | None = None
    vote_minus_tuned: Numbers | None = None
    vote_minus_member: Numbers | None = None
    kept_minus_tuned: Mapping[str, Numbers] | None = None
    feedback: Mapping[str, Numbers] | None = None

    def content(self) -> dict[str, object]:
        """Return the content of details.json: each system under its name, and nothing of what this run has not."""
        compared = ("difference", "passage", "open_book", "slices", "datasets", "seeds")
        order = (*compared, "split", "totals", "retention", "synthesis", *AFTER)
        return {**self.systems, **{name: found for name in order if (found := getattr(self, name)) is not None}}


def merged(metrics: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """Return what is in details.json, and for older reports, which split it, what is in both files."""
    both = {name: metrics[name] | details[name] for name in metrics.keys() & details.keys() if isinstance(details[name], dict)}
    return metrics | details | both


def parsed(found: dict[str, Any]) -> Results:
    """Return the numbers in details.json."""
    known = {field.name for field in fields(Results)} & found.keys()
    return Results({name: found[name] for name in found if name not in known}, **{name: found[name] for name in known})


def results(
    found: Summary,
    totals: Mapping[str, Numbers],
    retention: Mapping[str, Numbers | Number],
    synthesis: Mapping[str, Numbers],
) -> Results:
    systems = {system: _flat_group(group) for system, group in found.systems.items()}
    for system, spread in found.spread.items():
        systems[system] |= {f"{metric}_sd": rounded(deviation) for metric, deviation in spread.items()}
    seeds: dict[str, Numbers] = {
        str(seed): {metric: rounded(mean) for metric, mean in means.items()} for seed, means in (found.seeds or {}).items()
    }
    return Results(
        systems,
        {"against": found.best, **_flat_changes(found.changes)},
        found.split,
        passage=_flat_change(found.headline, found.passage) if found.passage else None,
        open_book=_flat_changes(found.open_book) or None,
        slices=_by_name(found.slices),
        datasets=_by_name(found.datasets) or None,
        seeds=seeds or None,
        totals=totals,
        retention=retention,
        synthesis=synthesis,
        aligned_minus_tuned=_flat_changes(found.aligned_minus_tuned) or None,
        aligned_minus_base=_flat_changes(found.aligned_minus_base) or None,
        vote_minus_tuned=_flat_changes(found.vote_minus_tuned) or None,
        vote_minus_member={"against": found.member, **_flat_changes(found.vote_minus_member)} if found.member else None,
        kept_minus_tuned={system: _flat_changes(of) for system, of in found.kept_minus_tuned.items()} or None,
    )


def _by_name(groups: Mapping[str, Mapping[str, Group]]) -> dict[str, dict[str, Numbers]]:
    return {name: {system: _flat_group(group) for system, group in systems.items()} for name, systems in groups.items()}


def shown(found: Results, headline: str) -> dict[str, object]:
    """Return metrics.json, the part of these numbers that fits a screen of `dvc metrics diff`.

    Every system has the headline. Tuned ones also have the metrics that `formatting.METRICS` names, which leaves out single
    fields, their spread between seeds and their main totals. Retention is shown before and after, with its verdicts. The
    aligned one has the headline, with its differences to tuned and base, and the stop rate.
    """
    main = [metric for metric in found.systems[TUNED] if metric in METRICS]
    keys = {system: (headline, *main, f"{headline}_sd", "n") for system in (TUNED, TUNED_PASSAGE) if system in found.systems}
    keys |= {ALIGNED: (headline, f"{headline}_sd", "stop_rate", "n")} if ALIGNED in found.systems else {}
    keys |= {system: (headline,) for system in found.systems if system.startswith("base_") or system == VOTE or is_kept(system)}
    totals = {
        system: _chosen(numbers, MAIN_TOTALS) for system, numbers in (found.totals or {}).items() if system.startswith(TUNED)
    }
    verdicts = [f"{measure}_verdict" for measure in RETENTION]
    sides = {"base": RETENTION, TUNED: RETENTION, "difference": verdicts}
    sides |= {ALIGNED: RETENTION, "aligned_minus_tuned": verdicts} if ALIGNED in found.systems else {}
    after: dict[str, Numbers | None] = {
        "aligned_minus_tuned": found.aligned_minus_tuned,
        "aligned_minus_base": found.aligned_minus_base,
        "vote_minus_tuned": found.vote_minus_tuned,
        "vote_minus_member": found.vote_minus_member,
    }
    kept = {
        system: _chosen(numbers, (headline, f"{headline}_verdict"))
        for system, numbers in (found.kept_minus_tuned or {}).items()
    }
    return {
        **{system: _chosen(found.systems[system], chosen) for system, chosen in keys.items()},
        "difference": _chosen(found.difference, ("against", headline, f"{headline}_verdict")),
        **({"open_book": _chosen(found.open_book, (headline, f"{headline}_verdict"))} if found.open_book else {}),
        **{name: _chosen(numbers, (headline, f"{headline}_verdict")) for name, numbers in after.items() if numbers},
        **({"kept_minus_tuned": kept} if kept else {}),
        **({"alignment": found.alignment} if found.alignment else {}),
        **({"totals": totals} if any(totals.values()) else {}),
        "retention": {side: _chosen((found.retention or {}).get(side), chosen) for side, chosen in sides.items()},
        "split": found.split,
    }


def _chosen(numbers: Numbers | Number, keys: Iterable[str]) -> Numbers:
    return {key: numbers[key] for key in keys if key in numbers} if isinstance(numbers, dict) else {}


def _flat_group(group: Group) -> Numbers:
    """Return each rate, then n and clusters; a metric that applies to fewer rows also has its own."""
    numbers: Numbers = {}
    for metric, rate in group.rates.items():
        numbers |= flat(metric, rate)
        if rate.n < group.n:
            numbers |= {f"{metric}_n": rate.n, f"{metric}_clusters": rate.clusters}
    return numbers | {"n": group.n, "clusters": group.clusters}


def _flat_changes(changes: Mapping[str, Change]) -> Numbers:
    return {key: number for metric, change in changes.items() for key, number in _flat_change(metric, change).items()}


def _flat_change(metric: str, change: Change) -> Numbers:
    numbers: Numbers = {**flat(metric, change.difference)}
    numbers |= {f"{metric}_p_holm": rounded(change.p_holm), f"{metric}_verdict": change.verdict}
    return numbers | ({} if change.rows_needed is None else {f"{metric}_rows_needed": change.rows_needed})


def flat(name: str, found: Rate | Difference | float) -> dict[str, float]:
    """Return `name`, of a rate or difference `name_lo`, `name_hi`, and of a difference `name_p` and `name_mde`, rounded."""
    if isinstance(found, float):
        return {name: rounded(found)}
    numbers = {name: found.mean, f"{name}_lo": found.low, f"{name}_hi": found.high}
    if isinstance(found, Difference):
        numbers |= {f"{name}_p": found.p, f"{name}_mde": found.mde}
    return {key: rounded(number) for key, number in numbers.items()}
