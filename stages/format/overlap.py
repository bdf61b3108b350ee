"""Find train rows that repeat a validation or test row: its prompt, or a long run of its words that few rows share.

A shared run of words is the usual contamination test (13-grams in Brown et al. 2020, arXiv:2005.14165, appendix C). As there,
runs that many rows share are form, not content: the preamble of a prompt, a list of options, a closing phrase. Each Chinese,
Japanese or Korean character counts as a word.

Prompts and runs are kept as hashes of 64 bits. Among a billion different ones, two are equal with a probability of 3 %.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from stages.records import Task
from stages.text.comparing import content
from stages.text.conversations import beginning, tells
from stages.text.words import tokens

Hashes = NDArray[np.uint64]

# A run is form if it occurs in held-out rows of more sources than these, or in more train rows than these.
FEW, SHARE = 2, 0.02  # sources, and of all sources
FEW_ROWS, TENTH = 3, 0.1  # train rows, and of all train rows: where few rows are held out, these tell
SHORTEST = 4  # words of a part next to form that counts as a run
WARN = 0.1  # of the train rows; more are rarely copies
# What a question within a text begins after: the end of a sentence, a colon, a quotation mark.
APART = re.compile(r'[.!:]\s|[。！：\n"“”„«»]|(?<=[?？])')
LETTERED = re.compile(r"^[A-Z]\. ", re.MULTILINE)
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64


def reasons(train: Iterable[Task], held_out: Iterable[Task], ngram: int | None) -> Iterator[str | None]:
    """Yield for each train task why it is removed: as "equal", for a shared "ngram", or None. Both are read several times.

    A row is equal if one of its turns answers a held-out prompt after the same turns. It is also equal if one of its turns,
    its answer, or a question within them is a held-out question that stands alone or after a greeting. Runs are sought in
    all its turns, its answer included, since a held-out question may stand there.
    """
    prompts = {prompt for task in held_out for prompt in (_joined(task, len(task.history)), *_alone(task))}
    telling = _telling(train, held_out, ngram) if ngram else {}
    for task in train:
        if not prompts.isdisjoint(_prompts(task)):
            yield "equal"
        elif any(_known(known, _runs(text, size)).any() for text in _texts(task) for size, known in telling.items()):
            yield "ngram"
        else:
            yield None


def apart(valid: Iterable[Task], test: Iterable[Task]) -> list[Task]:
    """Return the validation rows without copies of test rows, which as examples in a prompt would give answers away."""
    return [task for task, reason in zip(valid, reasons(valid, test, None), strict=True) if reason is None]


def warning(removed: dict[str, int], rows: int, ngram: int | None) -> str | None:
    """Return a warning if more rows were removed than are likely to be copies."""
    if removed["ngram"] <= WARN * rows:
        return None
    return (
        f"warning: {removed['ngram']} of {rows} training rows share {ngram} words in a row with a validation or test row and "
        "were removed; if they are not copies, raise format.overlap_ngram or set it to null; if rows of one document or "
        "customer share text, name their column in data.columns.group, so that they stay in one split"
    )


def _form(train: Iterable[Task], held_out: Iterable[Task], ngram: int) -> Hashes:
    """Return the runs of held-out rows that many rows share."""
    known, rows = np.unique(_concatenated(_of_row(task, ngram, answer=False) for task in held_out), return_counts=True)
    most = max(FEW, SHARE * len({hash(task.source) for task in held_out}))
    frequent = known[rows > most]  # no other run can have more sources than that
    sources: dict[int, set[int]] = {run: set() for run in frequent.tolist()}
    for task in held_out:
        for run in _among(frequent, _of_row(task, ngram, answer=False)).tolist():
            if len(sources[run]) <= most:
                sources[run].add(hash(task.source))
    in_train, total = np.zeros(known.size, np.int32), 0
    for total, task in enumerate(train, start=1):  # noqa: B007 total is read below
        in_train[np.searchsorted(known, _among(known, _of_row(task, ngram)))] += 1
    shared = np.array([run for run, found in sources.items() if len(found) > most], np.uint64)
    return np.union1d(shared, known[in_train > max(FEW_ROWS, TENTH * total)])


def _telling(train: Iterable[Task], held_out: Iterable[Task], ngram: int) -> dict[int, Hashes]:
    """Return by length the runs of the parts of held-out texts that are not form; of a text with one short part, that part."""
    form = _form(train, held_out, ngram)
    found: dict[int, list[Hashes]] = {}
    for text in (text for task in held_out for text in _texts(task, answer=False)):
        is_form = [False] * text.size
        for start in np.flatnonzero(_known(form, _runs(text, ngram))):
            is_form[start : start + ngram] = [True] * ngram
        parts = [list(places) for covered, places in groupby(range(text.size), key=is_form.__getitem__) if not covered]
        for places in parts:
            is_all = len(parts) == 1 and SHORTEST <= len(places) < text.size  # of the text that is not form
            if len(places) >= ngram or is_all:
                size = min(ngram, len(places))
                found.setdefault(size, []).append(_runs(text[places[0] : places[-1] + 1], size))
    return {size: np.unique(_concatenated(runs)) for size, runs in found.items()}


def _prompts(task: Task) -> Iterator[int]:
    """Yield each prompt that the row answers: those of earlier turns too, unless they are a mere greeting.

    Each turn counts without those before it as well, and so does each question within it, except a greeting.
    """
    telling = len(beginning(task.history))
    for place, turn in enumerate(task.history):
        if turn.role == "assistant" and place >= telling:
            yield _prompt(earlier.content for earlier in task.history[:place])
    yield _joined(task, len(task.history))
    for text in (*(turn.content for turn in task.history if turn.role == "user"), task.input, task.output):
        questions = (part for part in APART.split(text) if part.endswith(("?", "？")))
        for part in (text, *questions):
            if tells(part):
                yield _prompt([part])


def _alone(task: Task) -> Iterator[int]:
    """Yield the question of a row without its turns, if these are a mere greeting."""
    if task.history and not any(tells(turn.content) for turn in task.history if turn.role == "user") and tells(task.input):
        yield _prompt([task.instruction, task.input])


def _joined(task: Task, turns: int) -> int:
    parts = [*(turn.content for turn in task.history[:turns]), task.instruction, task.input]
    if task.choices:  # in any order of the options
        parts = sorted(LETTERED.sub("", "\n".join(parts)).split("\n"))
    return _prompt(parts)


def _prompt(parts: Iterable[str]) -> int:
    return hash(content.__wrapped__(" ".join(parts)))  # its cache would keep the words of all rows


def _texts(task: Task, answer: bool = True) -> Iterator[Hashes]:
    """Yield the words of each turn that may repeat another row's; instructions are shared on purpose."""
    turns = [turn.content for turn in task.history if answer or turn.role == "user"]
    for text in [*turns, task.input or task.instruction, *([task.output] if answer else [])]:
        words = tokens(text)
        yield np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)


def _runs(text: Hashes, size: int) -> Hashes:
    """Return the hash of each run of `size` words: the polynomial in BASE with the words as coefficients."""
    if text.size < size:
        return text[:0]
    found = text[: text.size - size + 1].copy()
    for place in range(1, size):
        found = found * np.uint64(BASE) + text[place : text.size - size + 1 + place]
    return found


def _of_row(task: Task, ngram: int, answer: bool = True) -> Hashes:
    """Return the different runs of one row."""
    return np.unique(_concatenated(_runs(text, ngram) for text in _texts(task, answer)))


def _concatenated(parts: Iterable[Hashes]) -> Hashes:
    return np.concatenate([np.empty(0, np.uint64), *parts])


def _known(known: Hashes, runs: Hashes) -> NDArray[np.bool_]:
    """Return which runs are among the known ones, which are in order."""
    if not known.size:
        return np.zeros(runs.size, np.bool_)
    return known[np.minimum(np.searchsorted(known, runs), known.size - 1)] == runs


def _among(known: Hashes, runs: Hashes) -> Hashes:
    return runs[_known(known, runs)]
