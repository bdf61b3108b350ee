"""A system's predictions, checked against the rows that they answer."""

from collections.abc import Sequence
from pathlib import Path

from stages import records
from stages.records import DataError, Example, Prediction


def aligned(path: Path, examples: Sequence[Example]) -> list[Prediction]:
    """The predictions of a file in the order of the examples; DataError where one is missing."""
    found = {prediction.example: prediction for prediction in records.read(path, Prediction)}
    if missing := [example.id for example in examples if example.id not in found]:
        raise DataError(f"{path}: no prediction for {len(missing)} of {len(examples)} rows, e.g. {missing[0]}; run `dvc repro`")
    return [found[example.id] for example in examples]
