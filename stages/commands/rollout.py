"""`tunetrail rollout`: replace a model by a new one phase by phase, and notice in time if users are worse off."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, isfinite
from pathlib import Path

from stages import files
from stages.errors import DataError
from stages.rollout import judging, outcomes, plan
from stages.rollout.judging import Judgement, Look
from stages.rollout.plan import OUTCOME, Plan

STOPPED = 3  # exit status of a roll-out that may not continue; 1 is that of a mistake in a file


def write(
    rate: float,
    margin: float,
    traffic: float,
    phases: Sequence[str],
    guardrails: Sequence[str],
    alpha: float,
    power: float,
    bound: str,
    output: Path | None,
) -> None:
    """Print how long each phase takes and its bounds; with `output`, write the plan for `check`."""
    metrics = [plan.rate(OUTCOME, rate, -margin), *map(plan.guardrail, guardrails)]
    names = [metric.name for metric in metrics]
    if again := [name for name in names if names.count(name) > 1]:
        raise DataError(f"--guardrail {again[0]}: named twice")
    try:
        shares = [float(share.removesuffix("%")) for share in phases]
    except ValueError:
        raise DataError(f"--phases {','.join(phases)}: use shares in percent, e.g. 5,20,50,100") from None
    if any(round(share, 2) != share for share in shares):
        raise DataError(f"--phases {','.join(phases)}: shares have at most two decimals")
    if not all(low < high <= 100 for low, high in pairwise([0.0, *shares])):
        raise DataError(f"--phases {','.join(phases)}: shares must rise, from above 0 to at most 100")
    compared = shares[:-1] if shares[-1:] == [100] else shares  # at 100 % nobody has the old model
    if not compared:
        raise DataError(f"--phases {','.join(phases)}: name a share below 100 %, at which old and new can be compared")
    made = plan.made(metrics, compared, traffic, alpha, power, bound)
    print(_plan_page(made))
    if output:
        files.write_json(output, made.model_dump())
        print(f"\nWrote {output}. Judge with `tunetrail rollout check outcomes.csv --plan {output}`.")


def check(source: Path, plan_path: Path, output: Path | None) -> None:
    """Judge the outcomes so far; exit with 3 unless the roll-out may continue."""
    if output and (same := [path for path in (source, plan_path) if path.resolve() == output.resolve()]):
        raise DataError(f"--output {output}: would replace {same[0]}, which is read; choose another file")
    given = plan.read(plan_path)
    rows = outcomes.read(source, given)
    if rows.later:
        left = f"{rows.later:,} rows of the phase of 100 % are left out: all users have the new model there"
        print(f"{source}: {left}", file=sys.stderr)
    try:
        judged = judging.judge(given, rows)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    page = _check_page(given, judged)
    print(page)
    if output:
        files.write_text(output, page + "\n")
    if judged.verdict != "continue":
        sys.exit(STOPPED)


def _plan_page(made: Plan) -> str:
    days = [phase.rows / made.traffic for phase in made.phases]
    lines = [
        f"| phase | rows | days | of them with the new model | information | z at which it is rolled back ({made.bound}) |",
        "|---|---|---|---|---|---|",
    ]
    for phase, length, fraction, bound in zip(made.phases, days, made.fractions, made.bounds, strict=True):
        lines.append(
            f"| {phase.share:g} % | {phase.rows:,} | {ceil(length)} | {phase.rows * phase.share / 100:,.0f} | "
            f"{100 * fraction:.0f} % | {_bound(bound)} |"
        )
    noticed = ", ".join(f"{metric.name} {metric.baseline:g} {metric.margin:+g}" for metric in made.metrics)
    lines += [
        "| 100 % | | | all | | nothing to compare with |",
        "",
        f"{sum(map(ceil, days))} days at {made.traffic:g} rows a day. Noticed with a probability of at least "
        f"{100 * made.power:g} %: {noticed}. False alarms: at most {100 * made.alpha:g} % over all looks and metrics.",
    ]
    return "\n".join(lines)


def _check_page(given: Plan, judged: Judgement) -> str:
    lines = [
        f"**{judged.verdict}**: {judged.reason}",
        "",
        "| phase | rows | planned | users are split as planned, p |",
        "|---|---|---|---|",
    ]
    for phase, rows, p in zip(given.phases, judged.rows, [*judged.split, *[None] * len(given.phases)], strict=False):
        lines.append(f"| {phase.share:g} % | {rows:,} | {phase.rows:,} | {'' if p is None else format(p, '.3f')} |")
    if judged.looks:
        lines += [
            "",
            "| metric | by the end of | old | new | new − old, stratified by phase | margin | information | z | bound |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(given, look) for look in judged.looks),
            "",
            "Old and new are means of all rows. The difference is stratified by phase; each end of its interval holds at all "
            f"looks together with a probability of {100 * (1 - given.per_metric):.3g} %. z is above 0 where a metric is worse. "
            f"At its bound ({given.bound}, one-sided, alpha {given.per_metric:.3g} for each of {len(given.metrics)} metrics "
            "over all looks), the new model is rolled back. Without a bound nothing is tested: one model has too few rows or "
            "events yet, or all of alpha was spent on earlier looks. Information is in percent of the planned one.",
        ]
    return "\n".join(lines)


def _line(given: Plan, look: Look) -> str:
    change = f"{look.estimate.difference:+.4g}" + (f" [{look.low:+.4g}, {look.high:+.4g}]" if isfinite(look.bound) else "")
    return (
        f"| {look.metric.name} | {given.phases[look.phase].share:g} % | {look.old:.4g} | {look.new:.4g} | {change} | "
        f"{look.metric.margin:+g} | {100 * look.information:.0f} % | {look.z:.2f} | {_bound(look.bound)} |"
    )


def _bound(bound: float) -> str:
    return f"{bound:.2f}" if isfinite(bound) else "none"
