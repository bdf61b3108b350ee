"""`tunetrail rate`: people rate answers without knowing which system wrote them.

`export` writes a sheet per rater: the same rows in different orders. Only the key maps rows to systems. `import` computes
means per system, weighted if edge cases were picked, and the agreement of the raters, and keeps them for the report.
"""

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from scipy.special import stdtrit  # scipy.stats takes a second to import

from stages import files, locks, params, records
from stages.commands import clone, outputs, picking
from stages.errors import DataError
from stages.figures import assessments
from stages.figures.assessments import Marks, Md5, Ratings
from stages.preferences.records import Sample
from stages.rating import filled, sheet
from stages.rating.criteria import CRITERIA
from stages.rating.filled import KEY, key_of
from stages.records import Example, Prediction
from stages.statistics import SIGNIFICANT, TIE, Array, wilson
from stages.terminal import visible

DATA = Path("data")
INPUTS = TypeAdapter(dict[str, Md5])
Sheets = Mapping[str, Mapping[str, Mapping[str, int]]]  # by rater, row and criterion
COLUMNS = ("row", "question", "reference", "answer", *CRITERIA, "comment")


def export(
    systems: Sequence[str],
    raters: Sequence[str],
    count: int,
    folder: Path,
    samples: int | None = None,
    pick: str = "random",
) -> None:
    """Write <folder>/<rater>.csv for each rater, and the key next to the folder; raise DataError if one of them exists.

    With another `pick` than random, rows that have it are likelier, and the key has the probability of each row.
    The hashes of what is rated are stored next to the key. With `samples`, the seed of a tuned model, its samples of training
    prompts are rated instead of the systems' answers. They are stored there, since the next run may replace them.
    """
    if wrong := [rater for rater in raters if Path(rater).name != rater or rater in ("", "..")]:
        raise DataError(f"--raters: {wrong[0]!r} names no file; use a name without slashes for each rater")
    if pick != "random" and samples is not None:
        raise DataError(f"--pick {pick}: samples of training prompts have no scores; use --systems, or --pick random")
    if pick == "disagreement" and len(set(systems)) < 2:
        raise DataError("--pick disagreement: one system cannot disagree; name two or more in --systems, or use --pick errors")
    clone.refuse_running()
    with files.unchanged(params.PARAMS, DATA / "formatted", DATA / "predictions", DATA / "pairs", picking.SCORES):
        p = params.read("seed", "predict.split", "report.headline")
        split = p.predict.split if samples is None else "train"
        outputs.require(DATA / "formatted" / f"{split}.jsonl")
        examples = list(records.read(DATA / "formatted" / f"{split}.jsonl", Example))
        sampled = {} if samples is None else _two_of_each(DATA / "pairs" / str(samples) / "samples.jsonl")
        answers: dict[tuple[str, str], Prediction | Sample] = {
            (system, answer.example): answer
            for system in systems
            for answer in records.read(outputs.answers_of(system), Prediction)
        }
        answers |= {(sample.id, sample.example): sample for two in sampled.values() for sample in two}
        names = {example.id: systems or [sample.id for sample in sampled.get(example.id, ())] for example in examples}
        examples = [example for example in examples if names[example.id]]
        if lacking := [(system, e.id) for e in examples for system in names[e.id] if (system, e.id) not in answers]:
            raise DataError("data/predictions/{}.jsonl: no answer to {}; run `dvc repro`".format(*lacking[0]))
        inputs = outputs.hashes(DATA / "formatted" / f"{split}.jsonl", *map(outputs.answers_of, systems))
        scores = None if pick == "random" else picking.headline_scores(p.report.headline, systems, examples, answers)
    generator = np.random.default_rng(p.seed)
    chances: dict[str, tuple[str, ...]] = {}  # cells of the key, by example
    if scores is None:
        places = generator.permutation(len(examples))[:count]
    else:
        values = picking.values(pick, scores)
        if np.ptp(values) == 0:
            why = f"all rows are equal by {p.report.headline}, so all are equally likely"
            print(visible(f"warning: --pick {pick}: {why}"), file=sys.stderr)
        found = picking.probabilities(values, count)
        places = picking.draw(found, generator)
        chances = {examples[i].id: picking.cells(pick, examples[i].id, f"{found[i]:.6g}") for i in places}
    chosen = [examples[i] for i in places]
    pairs = [(example, system) for example in chosen for system in names[example.id]]
    rows = {number: pairs[i] for number, i in enumerate(generator.permutation(len(pairs)), start=1)}
    texts = {n: (e.prompt[-1].content, e.reference, answers[system, e.id].text) for n, (e, system) in rows.items()}
    key = key_of(folder)
    with locks.exclusive(key):
        for rater in raters:
            order = [int(number) for number in generator.permutation(list(rows))]
            sheet.write(folder / f"{rater}.csv", COLUMNS, ([n, *texts[n], *[""] * len(CRITERIA), ""] for n in order))
        columns = (*KEY, *(picking.COLUMNS if chances else ()))
        sheet.write(key, columns, ([n, e.id, system, *chances.get(e.id, ())] for n, (e, system) in rows.items()))
        if sampled:
            records.write(filled.samples_of(key), [sample for example in chosen for sample in sampled[example.id]])
        else:
            files.write_json(_inputs_of(key), inputs)
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


def _inputs_of(key: Path) -> Path:
    """Return the file next to a key with the hashes of the rows and answers that are rated."""
    return key.with_name(key.name.removesuffix(".key.csv") + ".inputs.json")


def read_back(folder: Path) -> None:
    """Keep means per system and agreement per criterion from the filled sheets of a folder for the report, and print them.

    Report on stderr, per rater, how many rows of the key the sheet lacks and how many have no rating.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that `tunetrail rate export` wrote")
    key = key_of(folder)
    keyed = list(sheet.read(key, KEY))
    if filled.samples_of(key).is_file():
        raise DataError(f"{folder}: holds ratings of samples, not of systems; name {key.parent} in preference.sheets")
    systems = {row["row"]: row["system"] for _, row in keyed}
    inputs = _inputs(_inputs_of(key), systems.values())
    pick, weights = picking.weights(keyed)
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
    if not any(given for rows in ratings.values() for given in rows.values()):
        raise DataError(f"{folder}: contains no ratings; fill in the sheets")
    read = {"key": key, **{f"sheet {number}": path for number, path in enumerate(sheets, start=1)}}
    found = Ratings(
        inputs=inputs | {name: files.file_hash(path, "md5") for name, path in read.items()},
        raters=len(sheets),
        rows=len({row["example"] for _, row in keyed}),
        pick=pick,
        notes=_notes(pick),
        systems=by_system(ratings, systems, weights),
        krippendorff_alpha={criterion: _agreement(_table(ratings, systems, criterion)) for criterion in CRITERIA},
    )
    path = assessments.path_of(params.read("name").name, "ratings")
    with locks.exclusive(path):
        outputs.keep(path, found)
    print(visible(json.dumps(found.model_dump(exclude_unset=True), ensure_ascii=False, indent=2)))


def _inputs(path: Path, systems: Collection[str]) -> dict[str, str]:
    """Return the hashes of the rows and answers that were rated, as `export` wrote them."""
    try:
        inputs = INPUTS.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        inputs = {}
    if lacking := [file for file in assessments.answers_of(systems) if file not in inputs]:
        raise DataError(f"{path}: has no hash of {lacking[0]}, which was rated; put back the file that `rate export` wrote")
    return inputs


def _notes(pick: str) -> list[str]:
    notes = [f"rows: {picking.PICKS[pick]}"]
    if pick != "random":
        notes.append("mean, interval and sd: of the whole split, each row weighs 1 / its probability")
    return [*notes, "krippendorff_alpha: of the rated rows, which count equally"]


def by_system(ratings: Sheets, systems: Mapping[str, str], weights: Mapping[str, float]) -> dict[str, dict[str, Marks]]:
    """Summarise ratings by system and criterion, with the system and the weight of each row."""
    names, by_row = np.array(list(systems.values())), np.array([weights[row] for row in systems])
    tables = {criterion: _table(ratings, systems, criterion) for criterion in CRITERIA}
    return {
        str(system): {
            criterion: Marks.model_validate(estimate(table[:, names == system], by_row[names == system]))
            for criterion, table in tables.items()
        }
        for system in np.unique(names)
    }


def _table(ratings: Sheets, rows: Iterable[str], criterion: str) -> Array:
    """Return the ratings of shape (raters, rows), NaN where one is missing."""
    return np.array([[given.get(row, {}).get(criterion, np.nan) for row in rows] for given in ratings.values()])


def _agreement(ratings: Array) -> float | None:
    alpha = krippendorff_alpha(ratings)
    return None if alpha is None else round(alpha, 4)


def estimate(ratings: Array, weights: Array) -> dict[str, float]:
    """Return mean, its 95 % interval, standard deviation and number of ratings, shape (raters, rows), with a weight per row.

    The interval is that of a rate in a survey, as in `stages.statistics.rate_interval`, with the scale's ends as 0 and 1. Rows
    were drawn, so all ratings of a row are one cluster. The variance of the mean is linearised (Särndal, Swensson & Wretman
    1992, "Model Assisted Survey Sampling", section 5.6): v = G/(G-1) * sum_g (w_g * sum_{i in g} (x_i - mean))^2 / W^2, where
    W is the sum of all ratings' weights. It takes rows as drawn with replacement, which is cautious. The interval is left out
    if fewer than two rows are rated, or if all have the same mean.
    """
    given = ~np.isnan(ratings)
    n = given.sum(axis=0)
    if not n.any():
        return {"n": 0}
    total, rows = float((weights * n).sum()), int(np.count_nonzero(n))
    mean = float((weights * np.nansum(ratings, axis=0)).sum()) / total
    errors = np.where(given, ratings - mean, 0)
    numbers = {"mean": mean, "sd": float(np.sqrt((weights * errors**2).sum() / total))}
    of_rows = weights * errors.sum(axis=0)
    if rows > 1 and np.abs(of_rows).max() > TIE * total:
        lowest, width = float(filled.SCALE[0]), float(filled.SCALE[-1]) - float(filled.SCALE[0])
        share, variance = (mean - lowest) / width, rows / (rows - 1) * float((of_rows**2).sum()) / (total * width) ** 2
        low, high = wilson(share, share * (1 - share) / variance, float(stdtrit(rows - 1, 1 - SIGNIFICANT / 2)))
        numbers |= {"mean_lo": lowest + width * low, "mean_hi": lowest + width * high}
    return {**{name: round(number, 4) for name, number in numbers.items()}, "n": int(n.sum())}


def krippendorff_alpha(ratings: Array) -> float | None:
    """Return Krippendorff's alpha for ordinal ratings of shape (raters, units), NaN for a missing rating.

    alpha = 1 - D_o / D_e, observed over expected disagreement (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    section C). The coincidence matrix o_ck counts the values c, k of the same unit; a unit of m ratings weighs 1 / (m - 1).
    The ordinal metric is delta^2_ck = (sum_{g=c..k} n_g - (n_c + n_k) / 2)^2. Full agreement gives 1, chance gives 0.
    Return None if no unit has two ratings or if all ratings are equal: alpha is undefined then.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = np.sum(ratings.T[:, :, None] == values, axis=1).astype(float)  # (units, values)
    counts = counts[counts.sum(axis=1) > 1]
    weights = 1 / (counts.sum(axis=1) - 1)
    coincidences = np.einsum("u,uc,uk->ck", weights, counts, counts) - np.diag(weights @ counts)
    totals = coincidences.sum(axis=1)
    ranks = np.cumsum(totals) - totals / 2  # sum_{g=c..k} n_g - (n_c + n_k) / 2 is the distance of these mid-ranks
    distance = (ranks[:, None] - ranks[None, :]) ** 2
    expected = float((np.outer(totals, totals) * distance).sum())
    return 1 - (totals.sum() - 1) * float((coincidences * distance).sum()) / expected if expected else None
