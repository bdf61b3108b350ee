"""Mix several data sets: each keeps its splits, and its share of the training rows is drawn."""

import random
from collections.abc import Iterator, Mapping
from heapq import merge
from operator import itemgetter

from stages.errors import DataError
from stages.fetch import rows
from stages.fetch.recognition import Opened
from stages.fetch.splits import SPLITS
from stages.params import MixData
from stages.records import Task
from stages.spool import Spool


def tasks(data: MixData, seed: int, tables: Mapping[str, Opened]) -> tuple[dict[str, Spool[Task]], list[Task]]:
    """Return the tasks of all data sets by split, each with the name of its data set, and the training rows that EWC protects.

    They are interleaved in proportion, so that the first rows, which some measurements take, are a sample of all. Training
    rows are drawn without repetition, by numbers or by weights; validation and test rows are all kept. The rows to protect
    are those that mix.rows draws for the same number. Raise DataError for a number that a data set has not.
    """
    found = {name: rows.tasks(part, seed, tables[name]) for name, part in data.sets.items()}
    counts = _counts(data, {name: len(splits["train"]) for name, splits in found.items()})
    mixed = {}
    for split in SPLITS:
        parts = []
        for name, splits in found.items():
            count = counts[name] if split == "train" else len(splits[split])
            parts.append(_placed(name, _drawn(splits[split], count, f"{seed} {name}"), count))
        mixed[split] = Spool(Task, (task for _, task in merge(*parts, key=itemgetter(0))))
    protected = [
        task
        for name, count in (data.mix.protect or {}).items()
        for _, task in _placed(name, _drawn(found[name]["train"], count, f"{seed} {name}"), count)
    ]
    return mixed, protected


def _counts(data: MixData, there: dict[str, int]) -> dict[str, int]:
    """Return how many training rows of each data set are drawn."""
    for key, given in (("rows", data.mix.rows), ("protect", data.mix.protect)):
        for name, number in (given or {}).items():
            if number > there[name]:
                raise DataError(f"data.mix.{key}.{name} = {number}: it has {there[name]} training rows; lower it")
    if numbers := data.mix.rows:
        return there | numbers
    if weights := data.mix.weights:
        largest = min(there[name] / weight for name, weight in weights.items())  # so that no data set runs out
        drawn = {name: round(weight * largest) for name, weight in weights.items()}
        if none := [name for name, number in drawn.items() if not number]:
            raise DataError(f"data.mix.weights.{none[0]}: too small for one row of it next to the other sets; raise it")
        return drawn
    return there


def _placed(name: str, tasks: Iterator[Task], count: int) -> Iterator[tuple[float, Task]]:
    """Yield the tasks with the name of their data set, also before their slices, each after its place between 0 and 1."""
    for number, task in enumerate(tasks):
        named = {"dataset": name, "slices": tuple(f"{name}_{part}" for part in task.slices)}
        yield (number + 0.5) / count, Task.model_validate(task.model_dump(exclude={"id"}) | named)


def _drawn(tasks: Spool[Task], count: int, seed: str) -> Iterator[Task]:
    """Yield `count` tasks at random, in their order."""
    chosen = set(random.Random(seed).sample(range(len(tasks)), count))
    return (task for place, task in enumerate(tasks) if place in chosen)
