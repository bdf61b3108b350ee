"""The way back from any record to what it was made from: predictions, examples, rows, facts, passages, teacher calls.

Every record names its parents by id; this module finds the files of a run that hold them and prints the tree.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.files import lines

FOLDERS = ("scores.jsonl", "predictions", "formatted", "synthetic", "raw")  # from result to source
SHOWN = 160  # characters of a text


def trace(id: str, data: Path = Path("data")) -> Iterator[str]:
    """Lines of the tree below a record; its id may be shortened as long as it is unique."""
    index = read(data)
    found = [key for key in index if key.startswith(id)]
    if not found:
        raise DataError(f"{id}: no record of this run has this id; run `dvc repro` or take one from items.jsonl or the report")
    if len(found) > 1:
        raise DataError(f"{id}: {len(found)} records begin like this, e.g. {', '.join(found[:3])}; write more of the id")
    yield from _tree(found[0], index, "", set())


def read(data: Path, places: Sequence[str] = FOLDERS) -> dict[str, dict[str, Any]]:
    """Every record in these files and folders below `data` by its id, with the file it stands in as `file`."""
    index: dict[str, dict[str, Any]] = {}
    for name in places:
        place = data / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.jsonl")):
            for number, line in enumerate(lines(path), start=1):
                try:
                    record = json.loads(line)
                    index.setdefault(record["id"], {**record, "file": str(path)})
                except (ValueError, TypeError, KeyError):
                    raise DataError(f"{path}:{number}: no record; if it was edited, run `dvc checkout`") from None
    return index


def sources(id: str, index: Mapping[str, dict[str, Any]]) -> list[str]:
    """The ids without parents that a record goes back to: seeds, documents, facts, calls."""
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
    """Yield each record once: made tasks show each other, so that paths to a record multiply with every round."""
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
    """Return what a record holds, one line per text."""
    texts = [f"{message['role']}: {message['content']}" for message in record.get("messages", ())]
    keys = (
        "system",
        "source",
        "instruction",
        "input",
        "output",
        "subject",
        "relation",
        "object",
        "filter",
        "reason",
        "text",
        "scores",
    )
    texts += [f"{key}: {record[key]}" for key in keys if record.get(key)]
    return [_short(line) for line in texts]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
