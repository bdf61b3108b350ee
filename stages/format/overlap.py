"""Remove train rows that repeat a validation or test row: its prompt, or a long run of its words that few rows share.

A shared run of words is the usual contamination test (13-grams in Brown et al. 2020, arXiv:2005.14165, appendix C). As there,
runs that many rows share are form, not content: the preamble of a prompt, a list of options, a closing phrase. Each Chinese,
Japanese or Korean character counts as a word.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from stages.records import Task
from stages.text.comparing import content
from stages.text.conversations import beginning
from stages.text.words import tokens

Run = tuple[str, ...]
# A run is form if it occurs in held-out rows of more sources than these, or in more train rows than these.
FEW, SHARE = 2, 0.02  # sources, and of all sources
FEW_ROWS, HALF = 3, 0.5  # train rows, and of all train rows: where few rows are held out, these tell
SHORTEST = 4  # words of a part next to form that counts as a run
WARN = 0.1  # of the train rows; more are rarely copies


def remove(train: Sequence[Task], held_out: Sequence[Task], ngram: int | None) -> tuple[list[Task], dict[str, int]]:
    """Return the remaining train tasks, and how many were removed as "equal" or for a shared "ngram".

    A row is equal if one of its turns answers a held-out prompt after the same turns. Runs are sought in all its turns, its
    answer included, since a held-out question may stand there.
    """
    prompts = {_joined(task, len(task.history)) for task in held_out}
    telling = _telling(train, held_out, ngram) if ngram else set()
    sizes = {len(run) for run in telling}
    kept, removed = [], {"equal": 0, "ngram": 0}
    for task in train:
        if not prompts.isdisjoint(_prompts(task)):
            removed["equal"] += 1
        elif any(run in telling for text in _texts(task) for size in sizes for run in _runs(text, size)):
            removed["ngram"] += 1
        else:
            kept.append(task)
    return kept, removed


def warning(removed: dict[str, int], rows: int, ngram: int | None) -> str | None:
    """Return a warning if more rows were removed than are likely to be copies."""
    if removed["ngram"] <= WARN * rows:
        return None
    return (
        f"warning: {removed['ngram']} of {rows} training rows share {ngram} words in a row with a validation or test row and "
        "were removed; if they are not copies, raise format.overlap_ngram or set it to null"
    )


def _form(train: Sequence[Task], held_out: Sequence[Task], ngram: int) -> set[Run]:
    """Return the runs of held-out rows that many rows share."""
    by_source: dict[str, set[Run]] = defaultdict(set)
    for task in held_out:
        by_source[task.source].update(run for text in _texts(task, answer=False) for run in _runs(text, ngram))
    sources = Counter(run for runs in by_source.values() for run in runs)
    rows = Counter(
        run for task in train for run in {run for text in _texts(task) for run in _runs(text, ngram)} & sources.keys()
    )
    most, most_rows = max(FEW, SHARE * len(by_source)), max(FEW_ROWS, HALF * len(train))
    return {run for run, count in sources.items() if count > most or rows[run] > most_rows}


def _telling(train: Sequence[Task], held_out: Sequence[Task], ngram: int) -> set[Run]:
    """Return the runs of the parts of held-out texts that are not form; of a text with one short part, that part."""
    form = _form(train, held_out, ngram)
    found = set[Run]()
    for text in (text for task in held_out for text in _texts(task, answer=False)):
        is_form = [False] * len(text)
        for start, run in enumerate(_runs(text, ngram)):
            if run in form:
                is_form[start : start + ngram] = [True] * ngram
        parts = [list(places) for covered, places in groupby(range(len(text)), key=is_form.__getitem__) if not covered]
        for places in parts:
            is_all = len(parts) == 1 and SHORTEST <= len(places) < len(text)  # of the text that is not form
            if len(places) >= ngram or is_all:
                found.update(_runs(tuple(text[place] for place in places), min(ngram, len(places))))
    return found


def _prompts(task: Task) -> Iterator[Run]:
    """Yield each prompt that the row answers: those of earlier turns too, unless they are a mere greeting."""
    telling = len(beginning(task.history))
    for place, turn in enumerate(task.history):
        if turn.role == "assistant" and place >= telling:
            yield content(" ".join(earlier.content for earlier in task.history[:place]))
    yield _joined(task, len(task.history))


def _joined(task: Task, turns: int) -> Run:
    return content(" ".join([*(turn.content for turn in task.history[:turns]), task.instruction, task.input]))


def _texts(task: Task, answer: bool = True) -> Iterator[Run]:
    """Yield the words of each turn that may repeat another row's; instructions are shared on purpose."""
    turns = [turn.content for turn in task.history if answer or turn.role == "user"]
    for text in [*turns, task.input or task.instruction, *([task.output] if answer else [])]:
        yield tuple(tokens(text))


def _runs(text: Run, ngram: int) -> Iterator[Run]:
    return (text[start : start + ngram] for start in range(len(text) - ngram + 1))
