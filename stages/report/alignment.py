"""What alignment brought and what it cost: looks at validation rows, answers that changed, pairs by source."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stages.figures.alignment import Alignment, AlignmentLook
from stages.figures.preferences import Preferences
from stages.formatting import SPACE, difference, metric_name, percent, probability, system_name
from stages.report import right
from stages.report.item_scores import Table, rounded
from stages.report.results import Numbers
from stages.report.summary import Summary
from stages.statistics import Array
from stages.systems import ALIGNED, TUNED

MEASURES = ("task", "pair_accuracy", "kl", "reward")  # of a look at rows that are not trained on
STEPS = ("kl", "reward", "entropy", "no_signal", "clipped")  # of the training steps, by grpo
PLOTTED = dict(zip(MEASURES, ("task", "pair_accuracy", "look_kl", "look_reward"), strict=True))  # a step has another KL


def looks(alignment: Mapping[int, Alignment]) -> dict[int, list[AlignmentLook]]:
    """Return the looks at rows that are not trained on, by seed."""
    return {seed: run.looks for seed, run in alignment.items()}


def until_kept(alignment: Mapping[int, Alignment]) -> dict[int, list[AlignmentLook]]:
    """Return the looks up to the step whose weights are kept, by seed."""
    return {seed: run.until_kept() for seed, run in alignment.items()}


def plot(alignment: Mapping[int, Alignment]) -> list[dict[str, float | None]]:
    """Return one row per step with a look or with numbers of GRPO; a row names its seed only if there are several."""
    rows = []
    for seed, run in alignment.items():
        looked = {look.step: {key: getattr(look, name) for name, key in PLOTTED.items()} for look in run.looks}
        logged = {entry.step: {name: getattr(entry, name) for name in STEPS} for entry in run.log}
        for step in sorted({*looked, *(step for step, entry in logged.items() if any(v is not None for v in entry.values()))}):
            row = {"step": step, **dict.fromkeys((*PLOTTED.values(), *STEPS)), **looked.get(step, {}), **logged.get(step, {})}
            rows.append(row if len(alignment) == 1 else {"seed": seed, **row})
    return rows


def numbers(found: Mapping[int, Sequence[AlignmentLook]]) -> Numbers:
    """Return the means over seeds of what the last of these looks measured."""
    last = [run[-1] for run in found.values() if run]
    means: Numbers = {}
    for name in MEASURES:
        values = [value for look in last if (value := getattr(look, name)) is not None]
        if values:
            means[name] = rounded(np.mean(values))
    return means


def pairs(found: Mapping[int, Preferences]) -> Numbers:
    """Return the number of pairs by source, and of votes, summed over seeds."""
    counts: Numbers = {}
    for one in found.values():
        kept = {f"{source}_pairs": counted.kept for source, counted in one.sources.items()}
        for name, count in {**kept, "pairs": one.pairs, "held_out": one.held_out, "votes": one.votes}.items():
            counts[name] = int(counts.get(name) or 0) + count
    return counts


def warnings(found: Mapping[int, Sequence[AlignmentLook]]) -> Iterator[str]:
    """Yield a line for each seed in which the accuracy of held-out pairs rose and the task's metric did not."""
    for seed, run in found.items():
        accuracy = [look.pair_accuracy for look in run if look.pair_accuracy is not None]
        task = [look.task for look in run if look.task is not None]
        if len(accuracy) > 1 and len(task) > 1 and accuracy[-1] > accuracy[0] and task[-1] <= task[0]:
            yield (
                f"Seed {seed}: the accuracy of held-out pairs rose from {percent(accuracy[0])} to "
                f"{percent(accuracy[-1])}{SPACE}%, but the metric of the task on validation rows did not "
                f"({percent(task[0])} to {percent(task[-1])}{SPACE}%): pairs were "
                "learned, answers did not improve."
            )


def sentence(found: Summary) -> str:
    """Return what alignment changed of the headline, with the evidence; empty where nothing was aligned."""
    if not found.aligned_minus_tuned:
        return ""
    change, base = found.aligned_minus_tuned[found.headline], found.aligned_minus_base[found.headline]
    before, after = (f"{percent(found.systems[s].rates[found.headline].mean)}{SPACE}%" for s in (TUNED, ALIGNED))
    text = (
        f"Alignment, {change.verdict}: {metric_name(found.headline)} was {before} after tuning and {after} after alignment, "
        f"{difference(change.difference)} points, {probability(change.p)}; against {system_name(found.best)} "
        f"{difference(base.difference)} points, {base.verdict}."
    )
    if change.verdict not in ("better", "worse"):
        points = percent(min(1.0, change.difference.mde))
        text += f" A difference of {points} points would have been found four times in five."
    return text


def choose(table: Table, headline: str, count: int, seed: int) -> list[tuple[int, str]]:
    """Draw rows whose verdict alignment changed, as `fixed` or `broken`, at most half of `count` of each unless one is short.

    A verdict is that of right.answers. Both answers are those of the first seed.
    """
    before, after = _verdicts(table, headline)
    order = np.random.default_rng(seed).permutation(len(table.ids)).tolist()
    fixed = [(row, "fixed") for row in order if after[row] and not before[row]]
    broken = [(row, "broken") for row in order if before[row] and not after[row]]
    half = max(count - count // 2, count - len(broken))
    chosen = fixed[:half]
    return sorted([*chosen, *broken[: count - len(chosen)]])


def verdicts(table: Table, headline: str) -> dict[str, int]:
    """Return how many rows alignment fixed and broke, by the first seed."""
    before, after = _verdicts(table, headline)
    return {"fixed": int(np.sum(after & ~before)), "broken": int(np.sum(before & ~after))}


def _verdicts(table: Table, headline: str) -> tuple[Array, Array]:
    """Return whether the answers before and after alignment are right, of the first seed."""
    first = next(iter(table.aligned))
    return right.answers(table, table.seeds[first], headline), right.answers(table, table.aligned[first], headline)


def length_ratios(totals: Mapping[str, Mapping[str, float | str | None]], table: Table) -> dict[str, float]:
    """Return the length ratio of answers to references of the tuned and the aligned models, as means over seeds."""
    found = {}
    for mean, of in ((TUNED, table.seeds), (ALIGNED, table.aligned)):
        values = [value for system in of.values() if isinstance(value := totals[system].get("length_ratio"), int | float)]
        if values:
            found[mean] = rounded(np.mean(values))
    return found
