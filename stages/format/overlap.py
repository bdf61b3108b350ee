"""Remove train rows that repeat a validation or test row: equal texts, and texts that share a long run of words.

A shared run of words is the usual contamination test (13-grams in Brown et al. 2020, arXiv:2005.14165, appendix C). Each
Chinese, Japanese or Korean character counts as a word.
"""

import re
from collections.abc import Iterable, Sequence

from stages.records import Task
from stages.text.words import CJK

WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")


def remove(train: Sequence[Task], held_out: Sequence[Task], ngram: int | None) -> tuple[list[Task], dict[str, int]]:
    """Return the remaining train tasks, and how many were removed as "equal" or for a shared "ngram"."""
    equal = {_text(task) for task in held_out}
    runs = {run for task in held_out for run in _runs(task, ngram)}
    kept, removed = [], {"equal": 0, "ngram": 0}
    for task in train:
        if _text(task) in equal:
            removed["equal"] += 1
        elif not runs.isdisjoint(_runs(task, ngram)):
            removed["ngram"] += 1
        else:
            kept.append(task)
    return kept, removed


def _text(task: Task) -> str:
    return " ".join(words(" ".join([*(turn.content for turn in task.history), task.instruction, task.input])))


def _runs(task: Task, ngram: int | None) -> Iterable[tuple[str, ...]]:
    if not ngram:
        return ()
    found = words(task.input or task.instruction)
    return (tuple(found[i : i + ngram]) for i in range(len(found) - ngram + 1))


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())
