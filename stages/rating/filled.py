"""Read sheets that people have filled in: the ratings of each row by criterion, and the key that maps rows to answers."""

from collections.abc import Container
from pathlib import Path

from stages.errors import DataError
from stages.rating import sheet
from stages.rating.criteria import CRITERIA

SCALE = ("1", "2", "3", "4", "5")
KEY = ("row", "example", "system")


def key_of(folder: Path) -> Path:
    """Return the key of a folder of sheets, which lies next to it."""
    folder = folder.resolve()  # "." has no name
    return folder.parent / f"{folder.name}.key.csv"


def samples_of(key: Path) -> Path:
    """Return the file next to a key with the samples that were rated; the answers of systems have none."""
    return key.with_name(key.name.removesuffix(".key.csv") + ".samples.jsonl")


def ratings(path: Path, known: Container[str], whole: bool = False) -> dict[str, dict[str, int]]:
    """Return the ratings of one sheet, by row and criterion; an empty cell does not count as a rating.

    Raise DataError for a row that is not `known`, and, if sheets must be `whole`, for a row without all its ratings.
    """
    ratings: dict[str, dict[str, int]] = {}
    for where, row in sheet.read(path, ("row", *CRITERIA)):
        number = _whole(row["row"])
        if number not in known or number in ratings:
            raise DataError(f"{where}: row {number} is {'in the sheet twice' if number in ratings else 'not in the key'}")
        given = {criterion: _whole(row[criterion]) for criterion in CRITERIA if row[criterion].strip()}
        if wrong := [criterion for criterion, value in given.items() if value not in SCALE]:
            raise DataError(
                f"{where}: row {number}: {wrong[0]} = {given[wrong[0]]!r}: must be a whole number from {SCALE[0]} to "
                f"{SCALE[-1]}{'' if whole else ', or empty'}"
            )
        if whole and (missing := [criterion for criterion in CRITERIA if criterion not in given]):
            raise DataError(
                f"{where}: row {number} has no rating of {' and '.join(missing)}; fill it in, or delete the row to leave the "
                "answer out"
            )
        ratings[number] = {criterion: int(value) for criterion, value in given.items()}
    return ratings


def _whole(cell: str) -> str:
    """Return 5 for 5.0, as some programs save a column that has empty cells."""
    return cell.strip().removesuffix(".0")
