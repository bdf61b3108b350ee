"""Folders in adapters/: their names, their cards, and the pointers by which DVC tracks them, for `keep` and `combine`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from stages import files, params, records
from stages.commands.compare.sides import git
from stages.errors import DataError
from stages.figures import Figures
from stages.kept.names import ADAPTERS
from stages.models.manifest import Manifest

USERS = ADAPTERS / "users"  # `tunetrail predict --adapter-column` reads these alone
NAME, LONGEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), 100
CARD, MODEL_CARD = "card.json", "model_card.md"


class Base(Figures):
    """The base model that an adapter belongs to, with the sha256 of each file of its weights."""

    name: str
    weights: dict[str, str]


class Combination(Figures):
    """How adapters were combined, and of which, by their folders: `contents` are the hashes in their cards."""

    method: str
    weights: dict[str, float]
    contents: dict[str, str]
    density: float | None


class Card(Figures):
    """Where stored weights come from, the sha256 of each of their files, and `content`, the hash of all of them."""

    experiment: str
    seed: int
    what: str
    commit: str
    base: Base
    files: dict[str, str]
    content: str
    combined: Combination | None = None


def target_of(name: str) -> Path:
    """Return the folder of a name, also of users/NAME; raise DataError if a folder, DVC or conf/ could misread it."""
    plain = name.removeprefix(f"{USERS.name}/")
    if not NAME.fullmatch(plain) or len(plain) > LONGEST or plain.endswith(".dvc"):
        raise DataError(
            f"NAME = {name[:LONGEST]!r}: must be at most {LONGEST} letters, digits, `_`, `.` and `-`, begin with a letter or a "
            f"digit, and not end with .dvc; {USERS.name}/ may precede it"
        )
    if name.lower() in (params.NOTHING.name, USERS.name):
        meant = "to start from nothing" if name.lower() == params.NOTHING.name else "the folder of the adapters of users"
        raise DataError(f"NAME = {name}: means {meant}; choose another name")
    return ADAPTERS / name


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file by its name in the folder, without the cards that `store` adds."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (CARD, MODEL_CARD)]
    return {path.relative_to(folder).as_posix(): files.file_hash(path) for path in paths}


def base_of(manifest: Manifest) -> Base:
    weights = {name: file.sha256 for name, file in manifest.files.items() if name.endswith(".safetensors")}
    return Base(name=manifest.model.name, weights=weights)


def card(experiment: str, seed: int, what: str, held: dict[str, str], base: Base, **further: Combination) -> Card:
    """Return the card of files with these hashes, at the commit of the working tree."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports", ":!dvc.lock")
    return Card(
        experiment=experiment,
        seed=seed,
        what=what,
        commit=git("rev-parse", "HEAD").decode().strip() + (" with changes" if changed else ""),
        base=base,
        files=held,
        content=records.content_hash(held),
        **further,
    )


def store(source: Path, target: Path, card: Card, report: Path | None) -> None:
    """Copy weights to `target`, with their card and the report's model card if there is one."""
    with files.whole_folder(target) as part:
        shutil.copytree(source, part, dirs_exist_ok=True, copy_function=shutil.copyfile)  # DVC's own files are read-only
        if report and report.is_file():
            shutil.copyfile(report, part / MODEL_CARD)
        files.write_json(part / CARD, card.model_dump(exclude_unset=True))


def track(target: Path, is_new: bool) -> None:
    """Let DVC track the folder; if it cannot, remove a new one and raise DataError with DVC's reason."""
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(target)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if run.returncode:
        if is_new:
            shutil.rmtree(target)
        lines = [line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if line.startswith("ERROR")]
        raise DataError(f"{target}: DVC cannot track it: {lines[0] if lines else f'status {run.returncode}'}; nothing is kept")
