"""Half-written files, unfinished work, and weights that a kill, a full disk or a bad disk damaged.

Delete only files that this project or DVC wrote, and nothing below data/authored/ and data/own/, the users' folders.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from stages.commands.doctor.finding import Finding, age, alive, deleted
from stages.commands.doctor.locks import held
from stages.files import file_hash
from stages.locks import EXPERIMENT, SHOWN, path_of
from stages.models.manifest import MANIFEST, Manifest
from stages.models.sources import folder_of
from stages.teachers.teacher import REPLIES

OUTPUTS, USERS = ("data", "models", "reports", "adapters"), ("data/authored", "data/own")
PART = re.compile(r"\..+\.(\d{1,7})\.part")  # .<name>.<pid>.part, as files.write_text and files.whole_folder name it
RESUMED = re.compile(r"\..+\.[0-9a-f]{12}\.part")  # answers of an interrupted `tunetrail predict`, which continues with them
DVC_PART = re.compile(r".*\.[\w-]{22}\.tmp")  # what DVC is copying into the workspace
FETCHED = re.compile(r"\..+-[0-9a-f]{16}\.\w{8}")  # .<model>-<hash>.<random>, as models.sources names weights being stored
HOLDER = re.compile(r"\d{1,7} .*(?:tunetrail|stages|make experiment)")  # a process and its command, as locks.take writes them
OLD = 3600  # seconds without a change; a process that is unknown here may run in another container
KEPT_DAYS = 30  # unfinished work that is older is worth a warning: it takes disk space and is rarely resumed


def half_written(root: Path, busy: bool) -> Iterator[Finding]:
    for path in _hidden(root, "part"):
        if RESUMED.fullmatch(path.name):
            if (days := age(path) / 86400) > KEPT_DAYS:
                problem = f"answers of a `tunetrail predict` that was interrupted {days:.0f} days ago"
                yield Finding("warning", str(path), problem, "delete it unless you resume")
        elif (match := PART.fullmatch(path.name)) and not alive(int(match[1])) and age(path) > OLD:
            if path.parent == root:  # a user's own file may have such a name there: .draft.2024.part
                yield Finding(
                    "warning", str(path), "perhaps half-written by a process that ended", "delete it if it is not yours"
                )
            else:
                yield deleted("warning", path, "half-written by a process that ended")
    for path in _hidden(root, "lock"):
        if _is_lock(path) and not held(path):
            yield deleted("warning", path, "lock of a command that was killed")
    for path in _hidden(root, "tmp"):
        if DVC_PART.fullmatch(path.name) and not busy and age(path) > OLD:
            yield deleted("warning", path, "half-copied by a killed DVC")


def _hidden(root: Path, ending: str) -> list[Path]:
    """Return .<name>.<ending> next to params.yaml and below the folders of outputs, except in those of users."""
    below = (path for name in OUTPUTS for path in (root / name).rglob(f".*.{ending}"))
    own = [path for path in below if not any(path.is_relative_to(root / folder) for folder in USERS)]
    return sorted([*root.glob(f".*.{ending}"), *own])


def _is_lock(path: Path) -> bool:
    """Return whether stages.locks wrote the file; nothing is known of other locks."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return bool(HOLDER.match(file.read(SHOWN)))
    except OSError:
        return False


def fetching(folder: Path) -> Iterator[Finding]:
    """Yield weights whose download or conversion was killed; the name of their folder holds no process."""
    for path in sorted(folder.glob(".*")):
        if FETCHED.fullmatch(path.name) and path.is_dir() and age(path) > OLD:
            yield deleted("warning", path, "half-fetched weights")


def unfinished(folder: Path, busy: bool) -> Iterator[Finding]:
    for path in sorted((folder / "responses").glob("*.json")):
        try:
            whole = bool(REPLIES.validate_json(path.read_bytes()))  # what Teacher demands of the file
        except (ValueError, OSError):
            whole = False
        if not whole:
            yield deleted("error", path, "a damaged answer of the teacher", "delete it; the next run requests it again")
    for path in sorted((folder / "checkpoints").glob("[!.]*")):
        if (days := age(path) / 86400) > KEPT_DAYS:
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**30
            problem, remedy = f"unfinished for {days:.0f} days, {size:.1f} GiB", "delete it unless you resume"
            if _holds_rounds(path):
                problem = f"finished rounds of align=dpo, {days:.0f} days old, {size:.1f} GiB"
                problem += "; reused by the same code with another align.rounds"
                remedy = "delete the folder to free the space"
            yield Finding("warning", str(path), problem, remedy)
    before = folder / "before"
    if busy or held(path_of(folder / EXPERIMENT.name)) or not before.is_dir():
        return
    if all((before / name).is_file() for name in ("params.yaml", "dvc.lock")):
        problem = "`make experiment` was interrupted, params.yaml and dvc.lock are those of the experiment"
        yield Finding("warning", str(before), problem, "run `make experiment` again: it puts the old ones back first")
    else:  # killed before it changed anything; it would fail to put them back
        yield deleted("error", before, "`make experiment` was killed at its start")


def _holds_rounds(path: Path) -> bool:
    """Return whether a folder holds finished rounds alone, as stages/align/checkpoint.py leaves them."""
    rounds = list(path.glob("round-*"))
    return bool(rounds) and all((place / "round.json").is_file() for place in rounds)


def weights(manifest: Manifest) -> Iterator[Finding]:
    folder = folder_of(manifest.model)
    if not folder.is_dir():
        return  # fetched when a stage needs them
    for name, pinned in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != pinned.sha256:
            problem = f"{name} is not the file that {MANIFEST} pins"
            if manifest.model.source == "path":
                yield Finding("error", str(folder), problem, "run `dvc repro -f fetch`")
            else:
                yield deleted("error", folder, problem, "delete the folder; the next run fetches it again")
            return
