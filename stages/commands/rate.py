"""`tunetrail rate`: people rate answers without knowing which system wrote them.

`export` writes a sheet per rater: the same rows in different orders. Only the key maps rows to systems. `import` computes
means per system and the agreement of the raters.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from stages import files, locks, params, records
from stages.commands import clone, outputs, sheet
from stages.commands.criteria import CRITERIA
from stages.errors import DataError
from stages.records import Example, Prediction
from stages.statistics import Array
from stages.terminal import visible

DATA = Path("data")
SCALE = ("1", "2", "3", "4", "5")
COLUMNS = ("row", "question", "reference", "answer", *CRITERIA, "comment")
KEY = ("row", "example", "system")


class RatingSummary(TypedDict):
    """By system and criterion: mean, standard deviation and number of ratings. By criterion: Krippendorff's alpha."""

    raters: list[str]
    systems: dict[str, dict[str, dict[str, float]]]
    krippendorff_alpha: dict[str, float | None]


def export(systems: Sequence[str], raters: Sequence[str], count: int, folder: Path) -> None:
    """Write <folder>/<rater>.csv for each rater, and the key next to the folder; raise DataError if one of them exists."""
    if wrong := [rater for rater in raters if Path(rater).name != rater or rater in ("", "..")]:
        raise DataError(f"--raters: {wrong[0]!r} names no file; use a name without slashes for each rater")
    clone.refuse_running()
    with files.unchanged(params.PARAMS, DATA / "formatted", DATA / "predictions"):
        p = params.read("seed", "predict.split")
        split = DATA / "formatted" / f"{p.predict.split}.jsonl"
        outputs.require(split)
        examples = list(records.read(split, Example))
        answers = {
            (system, answer.example): answer.text
            for system in systems
            for answer in records.read(outputs.answers_of(system), Prediction)
        }
    generator = np.random.default_rng(p.seed)
    chosen = [examples[i] for i in generator.permutation(len(examples))[:count]]
    pairs = [(example, system) for example in chosen for system in systems]
    rows = {number: pairs[i] for number, i in enumerate(generator.permutation(len(pairs)), start=1)}
    if lacking := [(system, example.id) for example, system in pairs if (system, example.id) not in answers]:
        raise DataError("data/predictions/{}.jsonl: no answer to {}; run `dvc repro`".format(*lacking[0]))
    texts = {n: (e.prompt[-1].content, e.reference, answers[system, e.id]) for n, (e, system) in rows.items()}
    with locks.exclusive(_key(folder)):
        for rater in raters:
            order = [int(number) for number in generator.permutation(list(rows))]
            sheet.write(folder / f"{rater}.csv", COLUMNS, ([n, *texts[n], *[""] * len(CRITERIA), ""] for n in order))
        sheet.write(_key(folder), KEY, ([n, example.id, system] for n, (example, system) in rows.items()))
    if len(chosen) < count:
        print(f"warning: {len(chosen)} rows instead of {count}: the {p.predict.split} split has no more", file=sys.stderr)
    print(
        f"{len(rows)} answers for {len(raters)} raters in {folder}; keep {_key(folder)} from them: it says which system wrote "
        "what"
    )


def read_back(folder: Path, output: Path | None) -> None:
    """Print, and store in `output`, means per system and agreement per criterion from the filled sheets of a folder.

    Report on stderr, per rater, how many rows of the key the sheet lacks and how many have no rating.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that `tunetrail rate export` wrote")
    systems = {row["row"]: row["system"] for _, row in sheet.read(_key(folder), KEY)}
    if links := files.links_out(folder):
        raise DataError(f"{links[0]}: a link that leads out of {folder} or nowhere; put a copy of the sheet there")
    filled = sorted(folder.glob("*.csv"))
    if not filled:
        raise DataError(f"{folder}: contains no sheets (*.csv)")
    ratings = {path.stem: _ratings(path, systems) for path in filled}
    for rater, rows in ratings.items():
        missing, unfilled = len(systems) - len(rows), sum(not given for given in rows.values())
        if missing or unfilled:
            print(
                visible(f"{rater}: of {len(systems)} rows {missing} are missing and {unfilled} have no rating"), file=sys.stderr
            )
    summary = summarize(ratings, systems)
    if output:
        with locks.exclusive(output):
            files.write_json(output, summary)
    print(visible(json.dumps(summary, ensure_ascii=False, indent=2)))


def summarize(ratings: dict[str, dict[str, dict[str, int]]], systems: dict[str, str]) -> RatingSummary:
    """Summarise ratings[rater][row][criterion]; alpha is that of all rows."""
    summary: RatingSummary = {"raters": list(ratings), "systems": {}, "krippendorff_alpha": {}}
    for criterion in CRITERIA:
        table = np.array([[rows.get(row, {}).get(criterion, np.nan) for row in systems] for rows in ratings.values()])
        alpha = krippendorff_alpha(table)
        summary["krippendorff_alpha"][criterion] = None if alpha is None else round(alpha, 4)
        by_system: dict[str, list[float]] = defaultdict(list)
        for column, system in enumerate(systems.values()):
            by_system[system] += [value for value in table[:, column] if not np.isnan(value)]
        for system in sorted(by_system):
            given = by_system[system]
            numbers = {"mean": round(float(np.mean(given)), 4), "sd": round(float(np.std(given)), 4)} if given else {}
            summary["systems"].setdefault(system, {})[criterion] = {**numbers, "n": len(given)}
    return summary


def krippendorff_alpha(ratings: Array) -> float | None:
    """Return Krippendorff's alpha for ordinal ratings of shape (raters, units), NaN for a missing rating.

    alpha = 1 - D_o / D_e, observed over expected disagreement (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    section C). The coincidence matrix o_ck counts the values c, k of the same unit; a unit of m ratings weighs 1 / (m - 1).
    The ordinal metric is delta^2_ck = (sum_{g=c..k} n_g - (n_c + n_k) / 2)^2. Full agreement gives 1, chance gives 0.
    Return None if no unit has two ratings or if all ratings are equal: alpha is undefined then.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = np.array([[np.sum(unit == value) for value in values] for unit in ratings.T], dtype=float)  # (units, values)
    counts = counts[counts.sum(axis=1) > 1]
    weights = 1 / (counts.sum(axis=1) - 1)
    coincidences = np.einsum("u,uc,uk->ck", weights, counts, counts) - np.diag(weights @ counts)
    totals = coincidences.sum(axis=1)
    ranks = np.cumsum(totals) - totals / 2  # sum_{g=c..k} n_g - (n_c + n_k) / 2 is the distance of these mid-ranks
    distance = (ranks[:, None] - ranks[None, :]) ** 2
    expected = float((np.outer(totals, totals) * distance).sum())
    return 1 - (totals.sum() - 1) * float((coincidences * distance).sum()) / expected if expected else None


def _ratings(path: Path, systems: dict[str, str]) -> dict[str, dict[str, int]]:
    """Return the ratings of one sheet, by row and criterion; an empty cell does not count as a rating."""
    ratings: dict[str, dict[str, int]] = {}
    for where, row in sheet.read(path, ("row", *CRITERIA)):
        number = _whole(row["row"])
        if number not in systems or number in ratings:
            raise DataError(f"{where}: row {number} is {'in the sheet twice' if number in ratings else 'not in the key'}")
        given = {criterion: _whole(row[criterion]) for criterion in CRITERIA if row[criterion].strip()}
        if wrong := [criterion for criterion, value in given.items() if value not in SCALE]:
            raise DataError(
                f"{where}: row {number}: {wrong[0]} = {given[wrong[0]]!r}: must be a whole number from {SCALE[0]} to "
                f"{SCALE[-1]}, or empty"
            )
        ratings[number] = {criterion: int(value) for criterion, value in given.items()}
    return ratings


def _whole(cell: str) -> str:
    """Return 5 for 5.0, as some programs save a column that has empty cells."""
    return cell.strip().removesuffix(".0")


def _key(folder: Path) -> Path:
    folder = folder.resolve()  # "." has no name
    return folder.parent / f"{folder.name}.key.csv"
