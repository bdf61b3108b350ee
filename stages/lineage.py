"""Trace any record to its sources: predictions, examples, rows, facts, passages, teacher calls.

Every record names its parents by id; this module finds them in the files of a run and prints the tree.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from stages import figures
from stages.errors import DataError
from stages.figures.alignment import Alignment
from stages.files import lines
from stages.records import Message
from stages.systems import is_aligned
from stages.text.rouge import RougeL
from stages.text.words import tokens

FOLDERS = (
    "scores.jsonl",
    "votes.jsonl",
    "predictions",
    "pairs",
    "rounds",
    "formatted",
    "feedback",
    "synthetic",
    "raw",
)  # from result to source
TEXTS = (
    *("system", "source", "instruction", "input", "output"),  # of tasks
    *("subject", "relation", "object"),  # of facts
    *("filter", "reason", "text", "thoughts", "scores"),  # of rejections, documents and answers, calls, scores
    *("chosen", "rejected", "place"),  # of pairs, and of the rows of files and sheets behind them
    *("vote", "correction", "comment", "user", "at"),  # of feedback
)
SHOWN = 160  # characters of a text
NEAREST = 3  # pairs shown for an answer of an aligned model
LEARNED_FROM = {"dpo": ("pairs",), "kto": ("pairs", "votes")}  # by method of alignment; grpo reads neither


class Traced(BaseModel):
    """What a record of any kind needs so that it can be traced and shown."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: str
    parents: list[str] = []
    messages: list[Message] = []
    prompt: list[Message] = []


def trace(id: str, data: Path = Path("data")) -> Iterator[str]:
    """Yield the lines of the tree below a record; a unique beginning of its id is enough.

    Below an answer of an aligned model follow the pairs with the nearest prompts that it was trained on, with kto also votes.
    """
    index = read(data)
    matches = [key for key in index if key.startswith(id)]
    if not matches:
        raise DataError(f"{id}: no record of this run has this id; run `dvc repro` or take one from items.jsonl or the report")
    if len(matches) > 1:
        raise DataError(f"{id}: {len(matches)} records begin like this, e.g. {', '.join(matches[:3])}; give more of the id")
    yield from _tree(matches[0], index)
    yield from _trained_on(index[matches[0]], index, data)


def read(data: Path, places: Sequence[str] = FOLDERS) -> dict[str, dict[str, Any]]:
    """Return every record in these files and folders of `data` by its id, with its path as `file`."""
    index: dict[str, dict[str, Any]] = {}
    for name in places:
        place = data / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.jsonl")):
            for number, line in enumerate(lines(path), start=1):
                try:
                    record = Traced.model_validate_json(line).model_dump(exclude_unset=True)
                    index.setdefault(record["id"], {**record, "file": str(path)})
                except ValueError:
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


def _tree(id: str, index: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield shared ancestors only once: generated tasks are examples for later ones, so paths multiply with each round."""
    waiting, shown = [(id, "")], set[str]()
    while waiting:
        id, indent = waiting.pop()
        if id in shown or id not in index:
            yield f"{indent}{id}  " + ("(see above)" if id in shown else "(not in this run's files)")
            continue
        shown.add(id)
        yield f"{indent}{id}  {index[id]['file']}"
        for line in _texts(index[id]):
            yield f"{indent}    {line}"
        waiting += [(parent, indent + "  ") for parent in reversed(index[id].get("parents", []))]


def _trained_on(answer: dict[str, Any], index: dict[str, dict[str, Any]], data: Path) -> Iterator[str]:
    """Yield the trees of what an aligned model learned from whose prompts are nearest, by ROUGE-L, to that of its answer.

    These are pairs of the stage pairs and of later rounds of the stage align, and votes; or a line where it read none.
    """
    system = str(answer.get("system", ""))
    question = index.get(str(answer.get("example")), {}).get("messages", ())[:-1]
    if not is_aligned(system) or not question:
        return
    seed = system.rpartition("_")[2]
    alignment = figures.read(data / "alignment" / f"{seed}.json", Alignment)
    if not (read := LEARNED_FROM.get(alignment.method)):
        rewards = {name for step in alignment.log for name in step.rewards or ()}
        model = "; the pairs of its reward model belong to the run that made it" if "reward_model" in rewards else ""
        yield f"{system} was aligned by {alignment.method}, from rewards of its own samples, not from pairs{model}"
        return
    files = [str(data / "pairs" / seed / f"{name}.jsonl") for name in read]
    later = [str(path) for path in (data / "rounds" / seed).glob("*/pairs.jsonl")]
    files += later
    trained = [record for record in index.values() if record["file"] in files and not record.get("held_out")]
    prompts = RougeL(tokens, [record["prompt"][-1]["content"] if record.get("prompt") else "" for record in trained])
    if nearest := prompts.nearest(question[-1]["content"], NEAREST):
        makers = "stages pairs and align" if later else "stage pairs"
        yield f"the {makers} made {len(trained)} {' and '.join(read)} for {system}; those with the nearest prompts:"
    for match in nearest:
        yield from (f"  {line}" for line in _tree(trained[match.place]["id"], index))


def _texts(record: dict[str, Any]) -> list[str]:
    """Return one line for each text of a record."""
    texts = [f"{message['role']}: {message['content']}" for message in record.get("messages", ())]
    texts += [f"{key}: {record[key]}" for key in TEXTS if record.get(key)]
    return [_short(line) for line in texts]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
