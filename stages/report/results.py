"""The numbers of a report as JSON: all of them in details.json, those that fit a screen in metrics.json."""

from collections.abc import Iterable
from typing import Any

from stages.formatting import METRICS
from stages.report.summary import BALANCED, TUNED, Change, Group, Summary, rounded
from stages.statistics import Difference, Rate

MAIN_TOTALS = ("bleu", "chrf", "macro_f1", BALANCED)  # what papers report of a kind of task and no mean over items gives
RETENTION = ("bits_per_byte", "choice_accuracy", "refusal_rate")


def details(found: Summary) -> dict[str, Any]:
    """Return the nested numbers of details.json, rounded; without totals, retention and synthesis."""
    numbers: dict[str, Any] = {system: _flat_group(group) for system, group in found.systems.items()}
    numbers[TUNED] |= {f"{metric}_sd": rounded(deviation) for metric, deviation in found.spread.items()}
    numbers["difference"] = {"against": found.best}
    for metric, change in found.changes.items():
        numbers["difference"] |= _flat_change(metric, change)
    if found.passage:
        numbers["passage"] = _flat_change(found.headline, found.passage)
    numbers["slices"] = {name: {s: _flat_group(group) for s, group in groups.items()} for name, groups in found.slices.items()}
    if found.seeds:
        numbers["seeds"] = {
            str(seed): {metric: rounded(mean) for metric, mean in means.items()} for seed, means in found.seeds.items()
        }
    return numbers | {"split": found.split}


def shown(numbers: dict[str, Any], headline: str) -> dict[str, Any]:
    """Return metrics.json, the part of these numbers that fits a screen of `dvc metrics diff`.

    Every system has the headline. The tuned one also has the metrics that `formatting.METRICS` names, which leaves out single
    fields, its spread between seeds and its main totals. Retention is shown before and after, with its verdicts.
    """
    main = [metric for metric in numbers[TUNED] if metric in METRICS]
    keys = {
        TUNED: (headline, *main, f"{headline}_sd", "n"),
        **{system: (headline,) for system in numbers if system.startswith("base_")},
        "difference": ("against", headline, f"{headline}_verdict"),
    }
    verdicts = [f"{measure}_verdict" for measure in RETENTION]
    totals = {system: _chosen(found, MAIN_TOTALS) for system, found in numbers["totals"].items() if system.startswith(TUNED)}
    return {
        **{name: _chosen(numbers[name], chosen) for name, chosen in keys.items()},
        **({"totals": totals} if any(totals.values()) else {}),
        "retention": {
            side: _chosen(numbers["retention"][side], keys)
            for side, keys in (("base", RETENTION), (TUNED, RETENTION), ("difference", verdicts))
        },
        "split": numbers["split"],
    }


def merged(metrics: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """Return all numbers of a report: those of details.json, and for older reports, which split them, those of both files."""
    both = {name: metrics[name] | details[name] for name in metrics.keys() & details.keys() if isinstance(details[name], dict)}
    return metrics | details | both


def _chosen(numbers: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: numbers[key] for key in keys if key in numbers}


def _flat_group(group: Group) -> dict[str, float]:
    """Return each rate, then n and clusters; a metric that applies to fewer rows also has its own."""
    numbers: dict[str, float] = {}
    for metric, rate in group.rates.items():
        numbers |= flat(metric, rate)
        if rate.n < group.n:
            numbers |= {f"{metric}_n": rate.n, f"{metric}_clusters": rate.clusters}
    return numbers | {"n": group.n, "clusters": group.clusters}


def _flat_change(metric: str, change: Change) -> dict[str, float | str]:
    numbers: dict[str, float | str] = {**flat(metric, change.difference)}
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
