"""`tunetrail rate`: people judge answers without knowing whose they are; sheets out, means and agreement in.

The sheets of all raters hold the same rows, each in an order of its own; which system wrote a row stands in the key alone.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages import params, records
from stages.records import DataError, Example, Prediction
from stages.report.statistics import Array

CRITERIA = ("relevance", "accuracy", "fluency")
SCALE = ("1", "2", "3", "4", "5")
COLUMNS = ("row", "question", "reference", "answer", *CRITERIA, "comment")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute instead of showing


def export(systems: Sequence[str], raters: Sequence[str], count: int, folder: Path) -> None:
    """Write <folder>/<rater>.csv for each rater and the key beside the folder; DataError where a sheet is there already."""
    p = params.read("seed", "predict.split")
    examples = list(records.read(Path("data/formatted") / f"{p.split}.jsonl", Example))
    answers = {
        system: {row.example: row.text for row in records.read(Path("data/predictions") / f"{system}.jsonl", Prediction)}
        for system in systems
    }
    if there := [path for path in [*(_sheet(folder, rater) for rater in raters), _key(folder)] if path.exists()]:
        raise DataError(f"{there[0]}: is there already and may hold ratings; choose another --output")
    generator = np.random.default_rng(p.seed)
    chosen = [examples[i] for i in generator.permutation(len(examples))[:count]]
    pairs = [(example, system) for example in chosen for system in systems]
    if unanswered := [(e.id, system) for e, system in pairs if e.id not in answers[system]]:
        raise DataError("data/predictions/{1}.jsonl: no answer to {0}; run `dvc repro`".format(*unanswered[0]))
    rows = dict(enumerate((pairs[i] for i in generator.permutation(len(pairs))), start=1))
    cells = {number: _cells(e.prompt[-1].content, e.reference, answers[system][e.id]) for number, (e, system) in rows.items()}
    for rater in raters:
        order = [int(number) for number in generator.permutation(list(rows))]
        _write(_sheet(folder, rater), COLUMNS, ([number, *cells[number]] for number in order))
    _write(_key(folder), ("row", "example", "system"), ((number, e.id, system) for number, (e, system) in rows.items()))
    print(f"{len(rows)} answers for {len(raters)} raters in {folder}/; keep {_key(folder)} from them")


def read_back(folder: Path, output: Path | None) -> None:
    """Read the filled sheets of a folder and show, and store as JSON, means by system and agreement by criterion."""
    systems = {row["row"]: row["system"] for row in _read(_key(folder), "row", "system")}
    sheets = sorted(folder.glob("*.csv"))
    if not sheets:
        raise DataError(f"{folder}: holds no sheets (*.csv)")
    ratings = {sheet.stem: _ratings(sheet, systems) for sheet in sheets}
    found = summarize(ratings, systems)
    if output:
        records.write_json(output, found)
    print(json.dumps(found, ensure_ascii=False, indent=2))


def summarize(ratings: dict[str, dict[str, dict[str, int]]], systems: dict[str, str]) -> dict[str, Any]:
    """From ratings[rater][row][criterion]: mean, standard deviation and number by system, and alpha over all rows."""
    found: dict[str, Any] = {"raters": list(ratings), "systems": {}, "krippendorff_alpha": {}}
    for criterion in CRITERIA:
        table = np.array([[sheet.get(row, {}).get(criterion, np.nan) for row in systems] for sheet in ratings.values()])
        alpha = krippendorff_alpha(table)
        found["krippendorff_alpha"][criterion] = None if alpha is None else round(alpha, 4)
        by_system: dict[str, list[float]] = defaultdict(list)
        for column, system in enumerate(systems.values()):
            by_system[system] += [value for value in table[:, column] if not np.isnan(value)]
        for system in sorted(by_system):
            given = by_system[system]
            numbers = {"mean": round(float(np.mean(given)), 4), "sd": round(float(np.std(given)), 4)} if given else {}
            found["systems"].setdefault(system, {})[criterion] = {**numbers, "n": len(given)}
    return found


def krippendorff_alpha(ratings: Array) -> float | None:
    """Krippendorff's alpha for ordinal ratings, array of shape (raters, units), NaN where a rater gave none.

    alpha = 1 - D_o / D_e, observed over expected disagreement (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    section C), from the coincidence matrix o_ck of values c, k given to the same unit, each unit of m ratings weighing
    1 / (m - 1), with the ordinal metric delta^2_ck = (sum_{g=c..k} n_g - (n_c + n_k) / 2)^2. 1 is full agreement, 0 chance.
    None where no unit has two ratings or all ratings are equal: there is nothing to agree about.
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


def _ratings(sheet: Path, systems: dict[str, str]) -> dict[str, dict[str, int]]:
    """Row to criterion to rating of one sheet; an empty cell is no rating."""
    found: dict[str, dict[str, int]] = {}
    for row in _read(sheet, "row", *CRITERIA):
        number, where = row["row"], f"{sheet}: row {row['row']}"
        if number not in systems or number in found:
            raise DataError(f"{where}: {'there twice' if number in found else 'not in the key'}")
        given = {criterion: row[criterion].strip() for criterion in CRITERIA if row[criterion].strip()}
        if wrong := [criterion for criterion, value in given.items() if value not in SCALE]:
            raise DataError(f"{where}: {wrong[0]} = {given[wrong[0]]!r}: must be {SCALE[0]} to {SCALE[-1]}, whole, or empty")
        found[number] = {criterion: int(value) for criterion, value in given.items()}
    return found


def _cells(*texts: str) -> list[str]:
    """Question, reference and answer, then empty cells to fill."""
    return [*("'" + text if text.startswith(FORMULA) else text for text in texts), *("" for _ in CRITERIA), ""]


def _sheet(folder: Path, rater: str) -> Path:
    return folder / f"{rater}.csv"


def _key(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.key.csv")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """With a byte order mark, without which Excel takes UTF-8 for something else."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    records.write_text(path, "\ufeff" + text.getvalue())


def _read(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a sheet or key by column; Excel writes semicolons where the comma is the decimal sign."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; `tunetrail rate export` writes it") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8; save the sheet as CSV UTF-8") from None
    table = csv.DictReader(io.StringIO(text), delimiter=";" if text.startswith("row;") else ",", restval="")
    if lacking := [name for name in columns if name not in (table.fieldnames or ())]:
        raise DataError(f"{path}: has no column {lacking[0]}; keep the sheet's first line as it was")
    return list(table)
