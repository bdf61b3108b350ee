"""Divide the rows of a user's file or of a table of the hub, read as tasks, into the train, valid and test splits."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from stages.errors import DataError
from stages.fetch import choices, labels, row
from stages.fetch.recognition import NamedRows, Opened, opened
from stages.fetch.splits import SPLITS
from stages.params import SLOT, RowsData
from stages.records import Task
from stages.spool import Spool
from stages.text.style import score

MANY, LARGE = 20, 0.1  # rows with one prompt, and their share of all, that are warned of

# What spreadsheets and pandas write for a value that they do not have.
LOST = ("nan", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!")

log = logging.getLogger(__name__)


def tasks(data: RowsData, seed: int, table: Opened | None = None) -> dict[str, Spool[Task]]:
    """Return the rows of `data`, already opened or not, as tasks by split, in their order.

    A row's split depends only on the seed and on its group (without one, its prompt; of a chat, the beginning). An added
    row moves no other row, and another `data.valid` leaves the test rows. A published split is what it is. Raise DataError
    for values that cannot be a row and for an empty split.
    """
    table = table or opened(data)
    data, path = table.data, table.path
    if any(data.columns.output in SLOT.findall(wording.text) for wording in data.wordings):
        raise DataError(f"data.wordings: one names {data.columns.output!r}, the column of the right answer; leave it out")
    splits = {split: Spool(Task) for split in SPLITS}
    seen: set[int] = set()  # hashes, since a million rows take a tenth of the memory of their ids
    alike = Counter[int]()  # rows by the key of their split
    named = Counter[str]()
    lost = Counter[str]()
    broken = Counter[str]()  # answers with a style by the demands that they break, "" if none
    first, repeated = "", 0
    for published, (place, values) in ((split, found) for split, rows in table.rows.items() for found in rows):
        key, task = row.read(place, values, data, seed)
        if hash((published, task.id)) in seen:
            repeated += 1
            continue
        seen.add(hash((published, task.id)))
        if task.output in LOST:
            lost[task.output] += 1
        split = published
        if split in ("", "train"):
            split = _split(key, data.shares, seed)
            alike[hash(key)] += 1
        asked = [task]
        if task.choices:
            asked = choices.asked(place, task, data.orders, max(data.orders, 1) if split == "test" else 1, seed)
        if task.kind == "classification":
            named[task.output] += 1
        if task.style and not task.tool_calls:  # only the model's template writes calls
            demands = ", ".join(name for name, is_met in score(task.style, asked[0].output).items() if not is_met)
            broken[demands] += 1
            first = first or (demands and f"{place} by {demands}")
        for each in (*asked, *(row.further(place, values, task, data) if split == "train" else ())):
            splits[split].append(each)
    if repeated:
        log.warning("%s: %d rows left out, each an exact repetition of an earlier one", path, repeated)
    if lost:
        log.warning("%s: %d answers are %s, which stands for a lost value; check them", path, lost.total(), " or ".join(lost))
    if first:
        _report_broken(path, data, broken, first)
    most, total = max(alike.values(), default=0), alike.total()
    if not data.columns.group and data.shares["train"] < 1 and most >= MANY and most > LARGE * total:
        log.warning(
            "%s: %d of %d rows begin with the same prompt, so they are in one split; to divide them, name data.columns.group",
            *(path, most, total),
        )
    _refuse_empty(path, splits, data, len(alike))
    return labels.as_choices(path, splits, named) if data.task == "classification" else splits


def _report_broken(path: Path, data: NamedRows, broken: Counter[str], first: str) -> None:
    """Warn of right answers that break the style of their own row; raise DataError if all do."""
    name, total = data.columns.style, broken.total()
    if not broken[""]:
        raise DataError(
            f"{path}: every right answer with a style breaks it, the first {first}; correct {name!r} or the answers"
        )
    log.warning(
        "%s: %d of %d right answers break their own style, the first %s; an answer like them scores 0: correct %r or them",
        *(path, total - broken[""], total, first, name),
    )


def _split(key: str, shares: Mapping[str, float], seed: int) -> str:
    drawn = int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:13], 16) / 16**13  # 52 bits: exact in a float
    return "test" if drawn < shares["test"] else "valid" if drawn < shares["test"] + shares["valid"] else "train"


def _refuse_empty(path: Path, splits: dict[str, Spool[Task]], data: NamedRows, keys: int) -> None:
    rows = sum(map(len, splits.values()))
    if not rows:
        raise DataError(f"{path}: no rows in it, only a header or an empty list; add rows")
    published = dict(data.splits or ())
    for name, tasks in splits.items():
        if published.get(name) and not tasks:
            raise DataError(f"{path}: data.splits.{name} = {published[name]} has no rows; name another, or null")
        if data.shares[name] and not tasks:
            there = f"{rows} rows with {keys} different {'groups' if data.columns.group else 'prompts'}"
            raise DataError(
                f"{path}: {name} is {data.shares[name]:g} of {there}, but it got none; add rows or change data.valid, data.test"
            )
