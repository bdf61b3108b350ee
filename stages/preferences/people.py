"""Pairs from filled rating sheets: two samples of a training prompt whose mean ratings differ.

`tunetrail rate export --samples SEED --output FOLDER/NAME` writes the sheets to FOLDER/NAME/, and to FOLDER their key and the
samples. FOLDER, with one or more of these exports, is preference.sheets.
"""

from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import combinations
from pathlib import Path

from stages import records
from stages.errors import DataError
from stages.figures.preferences import Rated
from stages.preferences.made import Made, pair
from stages.preferences.records import Sample, Verdict, Vote
from stages.rating import filled, sheet
from stages.records import Example

GOOD, BAD = 0.75, 0.25  # mean ratings from which on, and up to which, a single answer is a vote: 4 and 2 on the sheet
EXPORT = "write sheets with `tunetrail rate export --samples SEED`"
Marks = dict[str, float]  # by rater, from 0 to 1
Ratings = dict[str, dict[str, Verdict]]  # by answer and rater


def made(folder: Path, examples: Sequence[Example], margin: float) -> tuple[Made, Rated, list[Sample]]:
    """Return a pair for each prompt whose best and worst rated answer differ by `margin`, else votes; and the answers rated.

    Ratings from 1 to 5 are scaled to 0 to 1, so `margin` has the unit of the task's scores.
    """
    by_id = {example.id: example for example in examples}
    answers, ratings = read(folder, by_id)
    marks = {id: {rater: _mark(verdict) for rater, verdict in given.items()} for id, given in ratings.items()}
    groups: dict[str, list[Sample]] = defaultdict(list)
    for id in marks:
        groups[answers[id].example].append(answers[id])
    found = Made(candidates=len(groups), verdicts=[verdict for given in ratings.values() for verdict in given.values()])
    for id, group in groups.items():
        _decide(found, by_id[id], group, ratings, margin)
    return found, _rated(marks, groups), [answers[id] for id in marks]


def read(folder: Path, known: Container[str] | None) -> tuple[dict[str, Sample], Ratings]:
    """Return the answers that were rated by id, and their ratings; raise DataError for a damaged or unfilled sheet.

    `known` are the training rows; None where they are not made yet: then any row may have been rated.
    """
    answers: dict[str, Sample] = {}
    ratings: Ratings = defaultdict(dict)
    keys = sorted(folder.glob("*.key.csv"))
    if not keys:
        raise DataError(f"{folder}: contains no key (*.key.csv); {EXPORT} --output {folder}/NAME")
    for key in keys:
        _read(key, known, answers, ratings)
    return answers, ratings


def _mark(verdict: Verdict) -> float:
    return (sum(verdict.scores.values()) / len(verdict.scores) - 1) / 4


def _read(key: Path, known: Container[str] | None, answers: dict[str, Sample], ratings: Ratings) -> None:
    """Add the answers and ratings of one export; a sheet may repeat a rater's ratings elsewhere, but not change them."""
    folder = key.with_name(key.name.removesuffix(".key.csv"))
    rows: dict[str, str] = {}
    keyed = list(sheet.read(key, filled.KEY))
    for where, row in keyed:
        if known is not None and row["example"] not in known:
            raise DataError(
                f"{where}: {row['example']} is not a row of the training split. If the data changed since the export, go back "
                "to the earlier data, or export again and have the sheets filled in. Training on answers to test rows would "
                f"spoil their scores, so only training rows count: {EXPORT}"
            )
        rows[row["row"]] = row["system"]
    samples = filled.samples_of(key)
    if not samples.is_file():
        raise DataError(f"{samples}: no such file, but it holds the rated texts; {EXPORT}, and keep it next to the key")
    answers |= {sample.id: sample for sample in records.read(samples, Sample)}
    if lacking := [where for where, row in keyed if row["system"] not in answers]:
        raise DataError(f"{lacking[0]}: its answer is not in {samples}; put both files of one export here")
    sheets = sorted(folder.glob("*.csv"))
    if not sheets:
        raise DataError(f"{folder}: contains no sheets (*.csv); put the filled sheets there")
    for path in sheets:
        rated = filled.ratings(path, rows, whole=True)
        if not rated:
            raise DataError(f"{path}:2: no row below the header: the sheet is empty; fill in its rows, or remove it")
        for number, given in rated.items():
            id = rows[number]
            verdict = Verdict(place=f"{path}: row {number}", scores=given, parents=(id,))
            earlier = ratings[id].setdefault(path.stem, verdict)
            if earlier.scores != given:
                raise DataError(
                    f"{verdict.place}: {path.stem} rated this answer otherwise in {earlier.place}; delete one of the two rows, "
                    "or rename the sheet if it is another person's"
                )


def _decide(found: Made, example: Example, answers: Sequence[Sample], ratings: Ratings, margin: float) -> None:
    """Add a pair or votes for one prompt."""
    means = {sample.id: sum(map(_mark, ratings[sample.id].values())) / len(ratings[sample.id]) for sample in answers}
    best, worst = (choose(answers, key=lambda sample: (means[sample.id], sample.id)) for choose in (max, min))
    if best.text != worst.text and round(means[best.id] - means[worst.id], 6) >= margin:
        scores = round(means[best.id], 6), round(means[worst.id], 6)
        verdicts = [*ratings[best.id].values(), *ratings[worst.id].values()]
        found.pairs.append(pair(example, best, worst, "people", scores, "answer", verdicts))
        return
    decided = [sample for sample in answers if not BAD < means[sample.id] < GOOD]
    if not decided:
        found.dropped["gap below the margin" if len(answers) > 1 else "undecided"] += 1
    for sample in decided:
        good = means[sample.id] >= GOOD
        fields = {"prompt": example.prompt, "text": sample.text, "stopped": sample.stopped, "good": good, "source": "people"}
        parents = (sample.id, *(verdict.id for verdict in ratings[sample.id].values()))
        found.votes.append(Vote.model_validate({"example": example.id, "parents": parents, **fields}))


def _rated(marks: dict[str, Marks], groups: dict[str, list[Sample]]) -> Rated:
    """Count raters and ratings, and the pairs of answers that two of the raters put in opposite orders."""
    pairs = [pair for group in groups.values() for pair in combinations([sample.id for sample in group], 2)]
    orders = []
    for first, second in pairs:
        gaps = [marks[first][rater] - marks[second][rater] for rater in marks[first].keys() & marks[second].keys()]
        orders += [gaps] if len(gaps) > 1 else []
    return Rated(
        raters=len({rater for given in marks.values() for rater in given}),
        answers=len(marks),
        ratings=sum(map(len, marks.values())),
        compared=len(orders),
        conflicts=sum(min(gaps) < 0 < max(gaps) for gaps in orders),
    )
