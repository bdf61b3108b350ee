"""Read what users' outcomes were, and estimate what the new model changed, phase by phase and together.

Users differ from phase to phase, and so does the share of them that has the new model. Old and new are therefore compared
within each phase, and the differences averaged with Mantel–Haenszel weights. A user's rows depend on each other, so variances
are those of sums per user.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from stages.errors import DataError
from stages.rollout.plan import COLUMNS, HIGHEST, Metric, Plan
from stages.statistics import Array

ARMS = ("old", "new")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class Outcomes:
    """Rows in columns: number of the user, whether the model is the new one, number of the phase, and a value per metric.

    `later` rows of the file are left out, those of the phase of 100 %, in which nobody has the old model.
    """

    units: Array
    new: Array
    phases: Array
    values: dict[str, Array]
    later: int = 0

    def where(self, kept: Array) -> "Outcomes":
        values = {name: column[kept] for name, column in self.values.items()}
        return Outcomes(self.units[kept], self.new[kept], self.phases[kept], values)

    def first(self, sizes: Sequence[int]) -> "Outcomes":
        """Return the first rows of each phase, `sizes` of them."""
        kept = np.zeros(len(self.units), dtype=bool)
        for phase, size in enumerate(sizes):
            kept[np.flatnonzero(self.phases == phase)[:size]] = True
        return self.where(kept)

    def smaller_arm(self) -> int:
        """Return the number of rows of the smaller arm."""
        return int(min(self.new.sum(), len(self.new) - self.new.sum()))


@dataclass(frozen=True)
class Estimate:
    """New minus old, stratified by phase, and its standard error if both models were equal."""

    difference: float
    error: float


def estimate(rows: Outcomes, metric: str) -> Estimate:
    """Return the change of a metric; phases that lack an arm say nothing of it. The error is 0 where nothing varies.

    The error is that of a score test: values vary around the mean of their phase, not of their arm, whose few rows could all
    be equal by chance.
    """
    values, weights, means = rows.values[metric], [], []
    influence = np.zeros(len(values))
    for phase in np.unique(rows.phases):
        arms = [(rows.phases == phase) & (rows.new == arm) for arm in (False, True)]
        old, new = (int(arm.sum()) for arm in arms)
        if not old or not new:
            continue
        weights.append(old * new / (old + new))
        means.append(values[arms[1]].mean() - values[arms[0]].mean())
        centre = values[rows.phases == phase].mean()
        for arm, count, sign in zip(arms, (old, new), (-1, 1), strict=True):
            influence[arm] = sign * weights[-1] * (values[arm] - centre) / count
    _, numbers = np.unique(rows.units, return_inverse=True)
    if not weights or numbers.max() == 0:
        return Estimate(0.0, 0.0)
    sums = np.bincount(numbers, weights=influence) / sum(weights)
    error = sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1))
    return Estimate(float(np.average(means, weights=weights)), error)


def sample_ratio(rows: Outcomes, phase: int, share: float) -> float:
    """Return the p of as uneven a split of a phase's users, if each had the new model with probability `share` percent."""
    old, new = (len(np.unique(rows.units[(rows.phases == phase) & (rows.new == arm)])) for arm in (False, True))
    return float(binomtest(new, old + new, share / 100).pvalue)


def read(path: Path, plan: Plan) -> Outcomes:
    """Return the rows of a CSV file; raise DataError with file and line where one is not as planned.

    Rows of the phase of 100 %, which has no arm to compare with, are counted and left out.
    """
    names = [metric.name for metric in plan.metrics]
    shares = {phase.share: number for number, phase in enumerate(plan.phases)}
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    units: dict[str, int] = {}
    arms: dict[tuple[int, int], str] = {}
    rows: list[tuple[int, bool, int]] = []
    values: list[list[float]] = []
    later = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            _require_columns(path, table.fieldnames, names)
            for row in table:
                where = f"{path}:{table.line_num}"
                unit, arm, phase = _row(where, row, shares)
                measured = [_number(where, row, metric) for metric in plan.metrics]
                if phase is None:
                    later += 1
                    continue
                number = units.setdefault(unit, len(units))
                if arms.setdefault((number, phase), arm) != arm:
                    raise DataError(
                        f"{where}: unit {unit} has both models in the phase of {row['phase']} %; assign each user to one"
                    )
                rows.append((number, arm == "new", phase))
                values.append(measured)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not in UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None
    if not rows:
        raise DataError(f"{path}: has no rows")
    columns = np.array(values).T
    found = np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    return Outcomes(*found, dict(zip(names, columns, strict=True)), later)


def _require_columns(path: Path, given: Sequence[str] | None, metrics: Sequence[str]) -> None:
    wanted, given = [*COLUMNS, *metrics], given or []
    if missing := [name for name in wanted if name not in given]:
        raise DataError(f"{path}: has no column {missing[0]}; it needs {', '.join(wanted)}")
    if other := [name for name in given if name not in wanted]:
        raise DataError(f"{path}: column {other[0]} is not in the plan; remove it, or plan it with --guardrail")
    if len(given) != len(set(given)):
        raise DataError(f"{path}: a column occurs twice; columns are {', '.join(given)}")


def _row(where: str, row: dict[str, str], shares: dict[float, int]) -> tuple[str, str, int | None]:
    """Return the user, the model and the number of the phase, which is None for that of 100 %."""
    if None in row or None in row.values():
        raise DataError(f"{where}: more or fewer cells than columns")
    if not row["unit"].strip():
        raise DataError(f"{where}: unit is empty; write what was assigned to a model, such as a user's number")
    if row["arm"] not in ARMS:
        raise DataError(f"{where}: arm {row['arm']!r}: use old or new")
    phase = row["phase"].strip().removesuffix("%").strip()
    if not NUMBER.fullmatch(phase) or float(phase) not in {*shares, 100.0}:
        known = ", ".join(f"{share:g}" for share in shares)
        raise DataError(f"{where}: phase {row['phase']!r}: is not in the plan, which has {known}")
    if float(phase) == 100 and row["arm"] == "old":
        raise DataError(f"{where}: arm old in the phase of 100 %, in which all users have the new model")
    return row["unit"], row["arm"], shares.get(float(phase))


def _number(where: str, row: dict[str, str], metric: Metric) -> float:
    text, highest = row[metric.name].strip(), 1.0 if metric.rate else HIGHEST
    value = float(text) if NUMBER.fullmatch(text) else nan
    if not (0.0 if metric.rate else -HIGHEST) <= value <= highest:
        wanted = "a number from 0 to 1" if metric.rate else "a number"
        missing = "; write 0 if a missing one is a bad one" if not text else ""
        raise DataError(f"{where}: {metric.name} {row[metric.name]!r}: must be {wanted}{missing}")
    return value
