"""Turn tasks into chats: system prompt, earlier turns, the question, and the reference answer as the last message."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from stages.errors import DataError
from stages.records import Example, Task
from stages.text.prompts import answered

MORE_ROWS = {  # how to get more validation rows, by data.kind
    "complaints": "raise data.rows.valid",
    "rows": "raise data.valid, add rows to your data",
    "mix": "raise `valid` of the data set in data.sets, add rows to it",
    "documents": "write more questions into valid.jsonl of data.path",
    "graph": "raise the numbers in data.rows.valid",
}


def examples(tasks: Iterable[Task]) -> Iterator[Example]:
    return map(example, tasks)


def example(task: Task) -> Example:
    return Example(
        kind=task.kind,
        messages=answered(task),
        source=task.source,
        slices=task.slices,
        choices=task.choices,
        style=task.style,
        dataset=task.dataset,
        parents=(task.id,),
    )


def set_apart(tasks: Sequence[Task], count: int, seed: int) -> tuple[list[Task], list[Task]]:
    """Return `count` tasks of each data set for few-shot prompts, and the others in order.

    They have different sources as far as possible.
    """
    names = dict.fromkeys(task.dataset for task in tasks)
    chosen = [task for name in names for task in _chosen([task for task in tasks if task.dataset == name], count, seed)]
    taken = {task.id for task in chosen}
    return chosen, [task for task in tasks if task.id not in taken]


def _chosen(tasks: Sequence[Task], count: int, seed: int) -> list[Task]:
    shuffled = random.Random(seed).sample(list(tasks), len(tasks))
    first_of_source = list({task.source: task for task in reversed(shuffled)}.values())
    first = {task.id for task in first_of_source}
    return (first_of_source + [task for task in shuffled if task.id not in first])[: min(count, len(tasks) // 2)]


def require_shots(count: int, shots: Sequence[Task], rows: Sequence[Task], kind: str) -> None:
    """Raise DataError if fewer than `count` examples of a data set could be set apart for prompts; `kind` is data.kind."""
    there, apart = (Counter(task.dataset for task in tasks) for tasks in (rows, shots))
    for name in there or [""]:
        if apart[name] < count:
            of = f" of {name}" if name else ""
            raise DataError(
                f"predict.shots: needs {count} examples, but of {there[name]} validation rows{of} only {apart[name]} can be "
                f"set apart (at most half); {MORE_ROWS[kind]} or set predict.shots=[0]"
            )


def replayed(general: Sequence[Example], rows: int, fraction: float, seed: int) -> list[Example]:
    """Sample general examples to make up `fraction` of the mix with `rows` training rows; DataError if there are too few."""
    count = round(rows * fraction / (1 - fraction))
    if count > len(general):
        raise DataError(
            f"replay.fraction = {fraction:g}: needs {count} general examples, but the base model answered {len(general)} of "
            "the prompts in replay.path to the end; lower it, or add prompts"
        )
    return random.Random(seed).sample(list(general), count)
