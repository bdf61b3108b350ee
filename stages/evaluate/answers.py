"""A system's predictions, checked against the rows that they answer."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stages import records
from stages.records import DataError, Example, Prediction


def aligned(path: Path, examples: Sequence[Example]) -> list[Prediction]:
    """The predictions of <system>.jsonl in the order of the examples, all of a split.

    DataError where an example has none or several, where one answers no example, or is another system's.
    """
    predictions = list(records.read(path, Prediction))
    found = {prediction.example: prediction for prediction in predictions}
    if missing := [example.id for example in examples if example.id not in found]:
        raise DataError(f"{path}: no prediction for {len(missing)} of {len(examples)} rows, e.g. {missing[0]}; run `dvc repro`")
    if others := [prediction.system for prediction in predictions if prediction.system != path.stem]:
        raise DataError(f"{path}: {len(others)} predictions of other systems, e.g. {others[0]}; run `dvc repro`")
    answered = Counter(prediction.example for prediction in predictions)
    if surplus := list(answered - Counter(example.id for example in examples)):
        why = "has more than one prediction" if surplus[0] in {e.id for e in examples} else "is no row of the split"
        raise DataError(f"{path}: {surplus[0]} {why}; run `dvc repro`")
    return [found[example.id] for example in examples]
