"""`tunetrail judge`: a teacher judges the answers of two systems, in pairs and alone (Zheng et al. 2023, arXiv:2306.05685).

Judges prefer the answer that they see first, and the longer one. Therefore every pair is shown in both orders, and a win counts
only if both verdicts agree. The report states how often they agreed and how often the longer answer won.
"""

import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from stages import files, formatting, locks, params, records
from stages.commands import clone, outputs
from stages.errors import DataError
from stages.figures import assessments
from stages.figures.assessments import Judge, Marks, Pairwise
from stages.judging import verdicts
from stages.rating.criteria import CRITERIA
from stages.records import Call, Example, Prediction, aligned
from stages.statistics import Array, rate_interval
from stages.teachers.answers import incomplete
from stages.teachers.backends import backend
from stages.teachers.teacher import Teacher
from stages.terminal import visible

DATA = Path("data")
# "4. relevance: 4/5", but not -1. Signs before and after stay within their line, as in verdicts.py.
MARK = re.compile(
    rf"^[^\w\n]*(?:\d\W+)?({'|'.join(CRITERIA)})\W*(?<![-−])([1-5])(?:/5)?[^\w\n]*$", re.IGNORECASE | re.MULTILINE
)
RUBRIC = Path(__file__).with_name("judge_rubric.jinja")
GREEDY = verdicts.greedy(1024)  # with room for thoughts


def judge(systems: Sequence[str] | None, rows: int) -> None:
    """Judge the given number of random rows of the split, and keep what was found for the report."""
    clone.refuse_running()
    with files.unchanged(params.PARAMS, DATA / "formatted", DATA / "predictions"):
        p = params.read("name", "seed", "seeds", "model", "predict.split", "predict.shots", "teacher", "synthesis.budget")
        pair = systems or [f"tuned_{p.seeds[0]}", f"base_{max(p.predict.shots)}shot"]
        split = DATA / "formatted" / f"{p.predict.split}.jsonl"
        outputs.require(split)
        examples = list(records.read(split, Example))
        if len(pair) != 2 or pair[0] == pair[1] or rows < 1 or not examples:
            raise DataError("judge: needs exactly two systems, e.g. --systems tuned_42,base_3shot, and at least one row")
        answers = [outputs.answers_of(system) for system in pair]
        predictions = [aligned(path, examples) for path in answers]
        inputs = outputs.hashes(split, *answers)
        teacher = Teacher(backend(p.teacher, params.runtime()), p.synthesis.budget, p.seed)
    places = random.Random(p.seed).sample(range(len(examples)), min(rows, len(examples)))
    chosen = [examples[place] for place in places]
    first, second = ([answers[place] for place in places] for answers in predictions)
    path = assessments.path_of(p.name, "judge")
    with locks.exclusive(path):
        found = Judge(
            inputs=inputs,
            judge=_name(p.teacher, p.model.name),
            split=p.predict.split,
            rows=len(chosen),
            teacher=p.teacher.model_dump(),
            pairwise=pairwise(chosen, first, second, teacher),
            rubric={answers[0].system: rubric(chosen, answers, teacher) for answers in (first, second)},
            cost=teacher.cost(),
        )
        _show(found)
        if lost := incomplete(teacher.calls):
            print(visible(f"warning: {lost}"), file=sys.stderr)
        outputs.keep(path, found)


def _name(teacher: params.Teacher, base: str) -> str:
    """Return who judges: a model, by its name here or on its server, or a recording."""
    if isinstance(teacher, params.ReplayTeacher):
        return f"the recording {Path(teacher.path).name}"
    if isinstance(teacher, params.LocalTeacher):
        return teacher.model.name if teacher.model else base
    return teacher.model


def pairwise(
    examples: Sequence[Example], first: Sequence[Prediction], second: Sequence[Prediction], teacher: Teacher
) -> Pairwise:
    texts = [(a.text, b.text) for a, b in zip(first, second, strict=True)]
    found = verdicts.read(teacher.answer(verdicts.both_orders(examples, texts, GREEDY)))
    usable, agreed, wins = found.usable, found.agreed, found.wins
    lengths = {row: (len(first[row].text), len(second[row].text)) for row in wins}
    longer_won = [(a > b) == wins[row] for row, (a, b) in lengths.items() if a != b]
    rate = rate_interval(np.array([*wins.values()]), np.array([examples[row].source for row in wins])) if wins else None
    return Pairwise(
        wins={first[0].system: sum(wins.values()), second[0].system: len(wins) - sum(wins.values())},
        ties=len(agreed) - len(wins),
        inconsistent=len(usable) - len(agreed),
        unusable=len(examples) - len(usable),
        win_rate=_rounded(rate.mean if rate else None),
        win_rate_lo=_rounded(rate.low if rate else None),
        win_rate_hi=_rounded(rate.high if rate else None),
        consistency=_share([row in agreed for row in usable]),
        first_shown=_share(found.for_first_shown),
        longer_won=_share(longer_won),
    )


def rubric(examples: Sequence[Example], answers: Sequence[Prediction], teacher: Teacher) -> dict[str, Marks]:
    """Return the mean of each criterion over the answers that were rated in all of them, and its interval by source."""
    asks = [verdicts.asked(RUBRIC, example, [answer.text], GREEDY) for example, answer in zip(examples, answers, strict=True)]
    calls = zip(examples, teacher.answer(asks), strict=True)
    rated = [(example.source, marks) for example, call in calls if (marks := _marks(call))]
    sources = np.array([source for source, _ in rated])
    return {name: _mean(np.array([marks[name] for _, marks in rated]), sources) for name in CRITERIA}


def _mean(marks: Array, sources: Array) -> Marks:
    if not len(marks):
        return Marks(n=0)
    rate = rate_interval((marks - 1) / 4, sources)
    mean, low, high = (round(1 + 4 * share, 4) for share in (rate.mean, rate.low, rate.high))
    return Marks(n=rate.n, mean=mean, mean_lo=low, mean_hi=high)


def _show(found: Judge) -> None:
    """Print the wins, the judge's biases, and a table of the ratings."""

    def percent(share: float | None) -> str:
        return "–" if share is None else f"{formatting.percent(share)} %"

    compared = found.pairwise
    wins = ", ".join(f"{system} won {count}" for system, count in compared.wins.items())
    others = f"{compared.ties} ties, {compared.inconsistent} inconsistent, {compared.unusable} unusable"
    interval = f"{percent(compared.win_rate_lo)} to {percent(compared.win_rate_hi)}"
    console = Console(markup=False, emoji=False, highlight=False)
    for line in (
        f"{found.rows} rows of the {found.split} split, each pair in both orders: {wins}, {others}",
        f"win rate of {next(iter(compared.wins))}: {percent(compared.win_rate)}, 95 % interval {interval}",
        f"verdicts that agree in both orders: {percent(compared.consistency)}; for the answer shown first (50 % is fair): "
        f"{percent(compared.first_shown)}; wins of the longer answer: {percent(compared.longer_won)}",
    ):
        console.print(visible(line), soft_wrap=True)
    grid = Table("mean mark, 1 to 5", *CRITERIA, "rated", "unusable", box=SIMPLE)
    for system, marks in found.rubric.items():
        rated = max(mark.n for mark in marks.values())
        means = (formatting.figure(marks[criterion].mean) for criterion in CRITERIA)
        grid.add_row(visible(system), *means, str(rated), str(found.rows - rated))
    console.print(grid)


def _marks(call: Call | None) -> dict[str, int] | None:
    """Return the last marks; a criterion that is marked again begins another rating, and only a complete one counts."""
    ratings: list[dict[str, int]] = [{}]
    for name, mark in MARK.findall(call.text) if call else []:
        if name.lower() in ratings[-1]:
            ratings.append({})
        ratings[-1][name.lower()] = int(mark)
    return ratings[-1] if len(ratings[-1]) == len(CRITERIA) else None


def _share(hits: Sequence[bool]) -> float | None:
    return _rounded(np.mean(hits)) if hits else None


def _rounded(number: SupportsFloat | None) -> float | None:
    return None if number is None else round(float(number), 6)
