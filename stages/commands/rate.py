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
from stages.commands import clone, outputs
from stages.errors import DataError
from stages.preferences.records import Sample
from stages.rating import filled, sheet
from stages.rating.criteria import CRITERIA
from stages.rating.filled import KEY, key_of
from stages.records import Example, Prediction
from stages.statistics import Array
from stages.terminal import visible

DATA = Path("data")
COLUMNS = ("row", "question", "reference", "answer", *CRITERIA, "comment")


class RatingSummary(TypedDict):
    """By system and criterion: mean, standard deviation and number of ratings. By criterion: Krippendorff's alpha."""

    raters: list[str]
    systems: dict[str, dict[str, dict[str, float]]]
    krippendorff_alpha: dict[str, float | None]


def export(systems: Sequence[str], raters: Sequence[str], count: int, folder: Path, samples: int | None = None) -> None:
    """Write <folder>/<rater>.csv for each rater, and the key next to the folder; raise DataError if one of them exists.

    With `samples`, the seed of a tuned model, its samples of training prompts are rated instead of the systems' answers. They
    are stored next to the key, since the next run may replace them.
    """
    if wrong := [rater for rater in raters if Path(rater).name != rater or rater in ("", "..")]:
        raise DataError(f"--raters: {wrong[0]!r} names no file; use a name without slashes for each rater")
    clone.refuse_running()
    with files.unchanged(params.PARAMS, DATA / "formatted", DATA / "predictions", DATA / "pairs"):
        p = params.read("seed", "predict.split")
        split = p.predict.split if samples is None else "train"
        outputs.require(DATA / "formatted" / f"{split}.jsonl")
        examples = list(records.read(DATA / "formatted" / f"{split}.jsonl", Example))
        sampled = {} if samples is None else _two_of_each(DATA / "pairs" / str(samples) / "samples.jsonl")
        answers = {
            (system, answer.example): answer.text
            for system in systems
            for answer in records.read(outputs.answers_of(system), Prediction)
        } | {(sample.id, sample.example): sample.text for two in sampled.values() for sample in two}
    names = {example.id: systems or [sample.id for sample in sampled.get(example.id, ())] for example in examples}
    examples = [example for example in examples if names[example.id]]
    generator = np.random.default_rng(p.seed)
    chosen = [examples[i] for i in generator.permutation(len(examples))[:count]]
    pairs = [(example, system) for example in chosen for system in names[example.id]]
    rows = {number: pairs[i] for number, i in enumerate(generator.permutation(len(pairs)), start=1)}
    if lacking := [(system, example.id) for example, system in pairs if (system, example.id) not in answers]:
        raise DataError("data/predictions/{}.jsonl: no answer to {}; run `dvc repro`".format(*lacking[0]))
    texts = {n: (e.prompt[-1].content, e.reference, answers[system, e.id]) for n, (e, system) in rows.items()}
    key = key_of(folder)
    with locks.exclusive(key):
        for rater in raters:
            order = [int(number) for number in generator.permutation(list(rows))]
            sheet.write(folder / f"{rater}.csv", COLUMNS, ([n, *texts[n], *[""] * len(CRITERIA), ""] for n in order))
        sheet.write(key, KEY, ([n, example.id, system] for n, (example, system) in rows.items()))
        if sampled:
            records.write(filled.samples_of(key), [sample for example in chosen for sample in sampled[example.id]])
    if len(chosen) < count:
        why = f"the {split} split has no more" if samples is None else "no other sampled prompt has two different texts"
        print(f"warning: {len(chosen)} rows instead of {count}: {why}", file=sys.stderr)
    print(f"{len(rows)} answers for {len(raters)} raters in {folder}; keep {key} from them: it says which system wrote what")


def _two_of_each(path: Path) -> dict[str, list[Sample]]:
    """Return the first two different samples of each prompt by its example; raise DataError if there are none."""
    if not path.is_file():
        raise DataError(f"{path}: no samples; run the stage pairs with preference.sources=[verifier] first")
    texts: dict[str, dict[str, Sample]] = {}
    for sample in records.read(path, Sample):
        texts.setdefault(sample.example, {}).setdefault(sample.text, sample)
    found = {example: list(by_text.values())[:2] for example, by_text in texts.items() if len(by_text) > 1}
    if not found:
        raise DataError(f"{path}: no prompt has two different samples; run the stage pairs with preference.sources=[verifier]")
    return found


def read_back(folder: Path, output: Path | None) -> None:
    """Print, and store in `output`, means per system and agreement per criterion from the filled sheets of a folder.

    Report on stderr, per rater, how many rows of the key the sheet lacks and how many have no rating.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that `tunetrail rate export` wrote")
    systems = {row["row"]: row["system"] for _, row in sheet.read(key_of(folder), KEY)}
    if links := files.links_out(folder):
        raise DataError(f"{links[0]}: a link that leads out of {folder} or nowhere; put a copy of the sheet there")
    sheets = sorted(folder.glob("*.csv"))
    if not sheets:
        raise DataError(f"{folder}: contains no sheets (*.csv)")
    ratings = {path.stem: filled.ratings(path, systems) for path in sheets}
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
