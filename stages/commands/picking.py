"""Pick rows for `tunetrail rate` so that errors or disagreement are likelier, with weights that keep estimates unbiased.

The rows are a probability sample: each row of the split has a known probability above zero. If a rated row weighs
1 / probability, means are those of the whole split (Horvitz & Thompson 1952; as a ratio, Hájek 1971).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages import records
from stages.commands import outputs
from stages.errors import DataError
from stages.records import Example, Record, Score, content_hash
from stages.statistics import Array

SCORES = Path("data/scores.jsonl")
LOWEST = 0.25  # size of a row without errors; 1 is the largest, so no weight is more than four times another
COLUMNS = ("pick", "probability", "check")  # of the key, if rows were not picked at random
PICKS = {
    "random": "all rows were equally likely",
    "disagreement": "rows whose headline scores differ most between the systems were likelier",
    "errors": "rows with low headline scores were likelier",
}


def headline_scores(
    headline: str, systems: Sequence[str], examples: Sequence[Example], answers: Mapping[tuple[str, str], Record]
) -> Array:
    """Return the headline of each answer, shape (examples, systems), NaN where it does not apply.

    Raise DataError if an answer was not scored, or if the headline applies to none.
    """
    outputs.require(SCORES)
    metric, _, only = headline.partition("@")
    scored = {id: score for score in records.read(SCORES, Score) if score.system in systems for id in score.parents}
    found = np.full((len(examples), len(systems)), np.nan)
    for row, example in enumerate(examples):
        for column, system in enumerate(systems):
            score = scored.get(answers[system, example.id].id)
            if score is None:
                raise DataError(f"{SCORES}: no scores of the answer of {system} to {example.id}; run `dvc repro`")
            if not only or only in score.slices:
                found[row, column] = score.scores.get(metric, np.nan)
    if np.isnan(found).all():
        raise DataError(
            f"{SCORES}: no answer of {', '.join(systems)} has a score for report.headline = {headline}; choose a metric that "
            "these rows have, or use --pick random"
        )
    return found


def values(pick: str, scores: Array) -> Array:
    """Return by row, from headline scores of shape (rows, systems), how much likelier it shall be: 0 least, 1 most.

    That is 1 - mean for errors, and the range of the scores for disagreement. Rows without the headline have 0.
    """
    return np.nan_to_num((1 - scores).mean(axis=1) if pick == "errors" else np.ptp(scores, axis=1))


def probabilities(values: Array, count: int) -> Array:
    """Return by row its probability to be among `count` rows: proportional to 1 + 3 * value, but at most 1."""
    sizes = LOWEST + (1 - LOWEST) * values
    certain = np.full(len(sizes), count >= len(sizes))
    while not certain.all():
        shares = (count - certain.sum()) * sizes / sizes[~certain].sum()
        above = ~certain & (shares >= 1)
        if not above.any():
            return np.where(certain, 1.0, shares)
        certain |= above
    return np.ones(len(sizes))


def draw(probabilities: Array, generator: np.random.Generator) -> Array:
    """Return the places of drawn rows; as many as the probabilities add up to.

    Systematic sampling with unequal probabilities (Madow 1949): the inclusion probabilities are exact, and no row is drawn
    twice. Rows are sorted by probability and equal ones shuffled, so that each kind has its share in every draw.
    """
    order = generator.permutation(len(probabilities))
    order = order[np.argsort(probabilities[order], kind="stable")]
    ends = np.cumsum(probabilities[order])
    ends[-1] = count = round(ends[-1])
    return order[np.searchsorted(ends, generator.random() + np.arange(count), side="right")]


def cells(pick: str, example: str, probability: str) -> tuple[str, str, str]:
    """Return the cells of an example in the key; the check shows whether they were edited."""
    return pick, probability, f"check-{content_hash([pick, example, probability])[:16]}"


def weights(keyed: Sequence[tuple[str, Mapping[str, str]]]) -> tuple[str, dict[str, float]]:
    """Return how the rows of a key were picked, and the weight of each by its number: 1 / probability, or 1 at random.

    Raise DataError if a probability is missing or was edited.
    """
    if not any(column in row for _, row in keyed for column in COLUMNS):
        return "random", {row["row"]: 1.0 for _, row in keyed}
    found = {}
    for where, row in keyed:
        stored = tuple(row.get(column, "") for column in COLUMNS)
        pick, probability, _ = stored
        if stored != cells(pick, row["example"], probability):
            raise DataError(
                f"{where}: the probability of row {row['row']} is missing or was edited, so its weight is unknown; put back "
                "the key that `tunetrail rate export` wrote"
            )
        found[row["row"]] = 1 / float(probability)
    return pick, found
