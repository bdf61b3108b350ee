"""Labels of rows: the names of those that are numbers or codes, and all of a data set as the choices of a classification."""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.fetch.table import as_text
from stages.records import Task
from stages.spool import Spool

NUMBER = re.compile(r"-?\d+(\.0+)?")  # a label in a CSV file that may stand for a name

log = logging.getLogger(__name__)


def named(place: str, name: str, value: Any, labels: Mapping[str, str] | None) -> Any:
    """Return the name of a label that is given as a number or code; without `labels` the value is the name."""
    if labels is None:
        return value
    code = as_code(value) or as_text(place, name, value).strip()
    if code not in labels and (code in ("True", "False") or NUMBER.fullmatch(code)):  # as pandas writes true and 1 in CSV
        code = code.lower().partition(".")[0]
    if code not in labels:
        there = f"{place}: {name!r} is {code[:40]!r}, but data.labels has names for {', '.join(labels)}"
        bare = code.lower() in ("yes", "no", "on", "off", "y", "n") and not labels.keys().isdisjoint(("true", "false"))
        hint = f"write {code!r} in quotes there, since YAML reads {code} as true or false" if bare else "add one for it"
        raise DataError(f"{there}; {hint}, as in {{0: negative}}")
    return labels[code]


def as_code(value: Any) -> str | None:
    """Return a number or a truth value as data.labels names it, None if it is neither; pandas writes 1 as 1.0."""
    value = int(value) if type(value) is float and value.is_integer() else value
    return json.dumps(value) if type(value) in (int, float, bool) else None


def as_choices(path: Path, splits: dict[str, Spool[Task]], counts: Counter[str]) -> dict[str, Spool[Task]]:
    """Return the tasks with all labels of the data, in alphabetical order, as the choices of each classification."""
    labels = sorted(counts)
    folded = {" ".join(label.lower().split()): label for label in labels}
    if alike := [label for label in labels if folded[" ".join(label.lower().split())] != label]:
        other = folded[" ".join(alike[0].lower().split())]
        raise DataError(f"{path}: the labels {alike[0]!r} and {other!r} differ only in case or white space; write one of them")
    if len(labels) < 2:
        raise DataError(f"{path}: every row has the label {labels[0]!r}; a classification needs two labels")
    if len(labels) > max(26, counts.total() / 2):
        raise DataError(f"{path}: {len(labels)} different labels in {counts.total()} rows are not classes; set data.task=text")
    if all(NUMBER.fullmatch(label) for label in labels):
        log.warning("%s: the labels are %s; if they stand for names, set data.labels", path, ", ".join(labels))

    def closed(task: Task) -> Task:
        is_open = task.kind != "classification"  # one of data.also
        return task if is_open else Task.model_validate(task.model_dump(exclude={"id"}) | {"choices": tuple(labels)})

    return {split: Spool(Task, map(closed, tasks)) for split, tasks in splits.items()}
