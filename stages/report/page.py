"""The wording of the verdict, the scales of the charts, and the script's hash."""

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stages.figures.alignment import AlignmentLook
from stages.figures.training import Training
from stages.formatting import FEW_CLUSTERS, SPACE, metric_name, number, percent, probability, signed, system_name
from stages.report.summary import Summary
from stages.systems import TUNED

HERE = Path(__file__).parent


class Verdict(NamedTuple):
    """What happened, in words; the limits are what the evidence does not cover."""

    outcome: str
    title: str
    evidence: str
    limits: list[str]


class Line(NamedTuple):
    """The values of one run as points of a polyline, with the last step and its value; no seed if there is only one run."""

    name: str
    seed: int | None
    points: list[tuple[float, float]]
    last: float
    step: int


class Chart(NamedTuple):
    """Lines, and the ticks of both axes with their labels, in a square of side 100 with the origin at the top left."""

    lines: list[Line]
    x: list[tuple[float, str]]
    y: list[tuple[float, str]]


def verdict(found: Summary, model: str, margin: float) -> Verdict:
    """Return what happened, in words: a title, the evidence for it, and what the evidence does not cover."""
    change, name = found.changes[found.headline], metric_name(found.headline)
    outcome, low, high = change.verdict, change.difference.low, change.difference.high
    changed = outcome in ("better", "worse")
    before, after = (f"{percent(found.systems[s].rates[found.headline].mean)}{SPACE}%" for s in (found.best, TUNED))
    effect = f"tuning took {model} from {before} to {after} {name}"
    if not changed:
        effect = f"{name} was {before} before tuning and {after} after"
    zero = "includes zero" if low <= 0 <= high else "excludes zero" + ("" if changed else ", but the test does not confirm it")
    evidence = (
        f"Difference from the best base system ({system_name(found.best)}): {signed(change.difference.mean)} points on the "
        f"{found.split} split, 95{SPACE}% interval {signed(low)} to {signed(high)}, {probability(change.p)}; "
        f"the interval {zero}."
    )
    if not changed:
        points = percent(min(1.0, change.difference.mde))
        evidence += f" A difference of {points} points would have been found four times in five, smaller ones less often."
    if change.rows_needed is not None:
        rows = number(change.rows_needed)
        evidence += f" The interval is wider than {percent(margin)} points; about {rows} rows would narrow it to that."
    title = f"{outcome.capitalize()}: {effect}"
    return Verdict(outcome, title, evidence, list(_limits(found)))


def _limits(found: Summary) -> Iterator[str]:
    """Yield what the evidence does not cover: one sentence per limit."""
    headline, rates = found.headline, found.tuned.rates
    if found.seeds:
        mean, spread = percent(rates[headline].mean), percent(found.spread[TUNED][headline])
        yield (
            f"“tuned” is the mean of {len(found.seeds)} training runs, {mean} ± {spread}{SPACE}% (standard deviation "
            "between them); the intervals cover the choice of items, not of seeds."
        )
    else:
        yield "There was one training run: how much the result varies between training seeds is unknown."
    if found.split == "valid":
        yield "These are validation rows, on which choices were made: expect less on new data."
    clusters = rates[headline].clusters
    if clusters < 2:
        yield "All rows come from one source: the intervals treat rows as independent and may be too narrow."
    elif clusters < FEW_CLUSTERS:
        yield f"There are only {clusters} clusters of rows: the intervals are rough."
    fewer = {metric: rate for metric, rate in rates.items() if rate.n < found.tuned.n and rate.clusters < FEW_CLUSTERS}
    if others := [metric_name(metric) for metric in fewer if metric != headline]:
        yield f"Fewer than {FEW_CLUSTERS} clusters, so also rough: {', '.join(others)}."


def chart(training: Mapping[int, Training]) -> Chart | None:
    """Return the loss as polylines; None without losses."""
    return _chart(
        [
            (seed, name, {entry.step: entry.loss for entry in log})
            for seed, run in training.items()
            for name, log in (("train", run.log), ("valid", run.validation))
        ]
    )


def aligned_chart(looks: Mapping[int, Sequence[AlignmentLook]]) -> Chart | None:
    """Return the task's metric and the accuracy of held-out pairs as polylines; None if neither was measured."""
    return _chart(
        [
            (seed, name, {look.step: value for look in run if (value := getattr(look, measure)) is not None})
            for seed, run in looks.items()
            for name, measure in (("task", "task"), ("pairs", "pair_accuracy"))
        ]
    )


def _chart(curves: Sequence[tuple[int, str, dict[int, float]]]) -> Chart | None:
    """Return values by step, with the seed and the name of each curve; None if all are empty."""
    curves, several = [curve for curve in curves if curve[2]], len({seed for seed, *_ in curves}) > 1
    if not curves:
        return None
    last, top = max(max(losses) for *_, losses in curves), max(max(losses.values()) for *_, losses in curves)
    xticks, yticks = _ticks(last), _ticks(top)
    width, height = max(last, 1), max(top, yticks[-1]) or 1
    lines = []
    for seed, name, losses in curves:
        points = [(round(100 * step / width, 2), round(100 - 100 * loss / height, 2)) for step, loss in losses.items()]
        step, loss = list(losses.items())[-1]
        lines.append(Line(name, seed if several else None, points, loss, step))
    return Chart(
        lines,
        [(round(100 * tick / width, 2), f"{tick:g}") for tick in xticks if tick == int(tick)],
        [(round(100 - 100 * tick / height, 2), f"{tick:g}") for tick in yticks],
    )


def _ticks(top: float) -> list[float]:
    """Return about five round numbers from 0 to `top`."""
    if not 0 < top < math.inf:
        return [0]
    power = 10 ** math.floor(math.log10(top / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= top / 4.5)
    return [round(index * step, 10) for index in range(int(top / step + 1e-9) + 1)]


def script_hash() -> str:
    """Return the hash by which the page's Content-Security-Policy names page.js."""
    return base64.b64encode(hashlib.sha256((HERE / "page.js").read_bytes()).digest()).decode()
