"""Trace any record to its sources: predictions, examples, rows, facts, passages, teacher calls.

Every record names its parents by id; this module finds them in the files of a run and prints the tree.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.files import lines

FOLDERS = ("scores.jsonl", "predictions", "formatted", "synthetic", "raw")  # from result to source
TEXTS = (
    *("system", "source", "instruction", "input", "output"),  # of tasks
    *("subject", "relation", "object"),  # of facts
    *("filter", "reason", "text", "scores"),  # of rejections, documents and answers, scores
)
SHOWN = 160  # characters of a text


def trace(id: str, data: Path = Path("data")) -> Iterator[str]:
    """Yield the lines of the tree below a record; a unique beginning of its id is enough."""
    index = read(data)
    matches = [key for key in index if key.startswith(id)]
    if not matches:
        raise DataError(f"{id}: no record of this run has this id; run `dvc repro` or take one from items.jsonl or the report")
    if len(matches) > 1:
        raise DataError(f"{id}: {len(matches)} records begin like this, e.g. {', '.join(matches[:3])}; give more of the id")
    yield from _tree(matches[0], index, "", set())


def read(data: Path, places: Sequence[str] = FOLDERS) -> dict[str, dict[str, Any]]:
    """Return every record in these files and folders of `data` by its id, with its path as `file`."""
    index: dict[str, dict[str, Any]] = {}
    for name in places:
        place = data / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.jsonl")):
            for number, line in enumerate(lines(path), start=1):
                try:
                    record = json.loads(line)
                    index.setdefault(record["id"], {**record, "file": str(path)})
                except (ValueError, TypeError, KeyError):
                    raise DataError(f"{path}:{number}: not a record; if the file was edited, run `dvc checkout`") from None
    return index


def sources(id: str, index: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the ids of a record's ancestors without parents: seeds, documents, facts, calls."""
    ends, seen, waiting = [], set[str](), [id]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            parents = [parent for parent in index.get(one, {}).get("parents", ()) if parent in index]
            ends += [] if parents else [one]
            waiting += reversed(parents)
    return ends


def _tree(id: str, index: dict[str, dict[str, Any]], indent: str, shown: set[str]) -> Iterator[str]:
    """Yield shared ancestors only once: generated tasks are examples for later ones, so paths multiply with each round."""
    record = index.get(id)
    if record is None:
        yield f"{indent}{id}  (not in this run's files)"
        return
    if id in shown:
        yield f"{indent}{id}  (see above)"
        return
    shown.add(id)
    yield f"{indent}{id}  {record['file']}"
    for line in _texts(record):
        yield f"{indent}    {line}"
    for parent in record.get("parents", ()):
        yield from _tree(parent, index, indent + "  ", shown)


def _texts(record: dict[str, Any]) -> list[str]:
    """Return one line for each text of a record."""
    texts = [f"{message['role']}: {message['content']}" for message in record.get("messages", ())]
    texts += [f"{key}: {record[key]}" for key in TEXTS if record.get(key)]
    return [_short(line) for line in texts]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
