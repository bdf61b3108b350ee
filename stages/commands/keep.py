"""`tunetrail keep`: a copy of a trained adapter that DVC tracks, with a card of where it comes from, to start training from."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from stages import files, locks, params, records
from stages.commands import clone, outputs
from stages.commands.compare.sides import git
from stages.errors import DataError
from stages.figures import Figures
from stages.models import stored
from stages.models.manifest import MANIFEST, read_manifest
from stages.params.aligning import REWARD_CARD

ADAPTERS = params.NOTHING.parent
NAME, LONGEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), 100
CARD, MODEL_CARD = "card.json", "model_card.md"
WRITERS = {
    "adapter": "dvc repro",
    "pretrained": "dvc exp run -S experiment=handbook -S pretrain=documents",
    "aligned": "dvc exp run -S preference=verifier -S align=dpo",
}


class Base(Figures):
    """The base model that an adapter belongs to, with the sha256 of each file of its weights."""

    name: str
    weights: dict[str, str]


class Card(Figures):
    """Where kept weights come from, the sha256 of each of their files, and `content`, the hash of all of them."""

    experiment: str
    seed: int
    what: str
    commit: str
    base: Base
    files: dict[str, str]
    content: str


def keep(name: str, seed: int | None, what: str) -> None:
    """Copy what a stage stored for a seed (by default the first one) to adapters/<name>, and let DVC track the copy."""
    clone.refuse_running()
    p, target = params.read("name", "seeds"), _target(name)
    seed = p.seeds[0] if seed is None else seed
    source, card = Path("models", str(seed), what), Path("reports", p.name, MODEL_CARD)
    if not stored.holds(source):
        raise DataError(f"{source}: holds no adapter or model; run `{WRITERS[what]}` first, or choose another --seed or --what")
    outputs.require(MANIFEST)
    with locks.exclusive(target), files.unchanged(params.PARAMS, MANIFEST, source, card):
        held = _hashes(source)
        is_new = not _is_kept(target, held)
        if is_new:
            _copy(source, target, _card(p.name, seed, what, held), None if what == "pretrained" else card)
        _track(target, is_new)
    pointer = f"{target}.dvc"
    use = f"`dvc exp run -S train.start_from={target}` continues from it"
    if (target / REWARD_CARD).is_file():
        use = f"`dvc exp run -S align=grpo -S align.reward_model={target} -S align.rewards.reward_model=1.0` uses it"
    print(
        f"{target}: {'stored' if is_new else 'already stored'}; `git add {pointer}`, commit, and `dvc push {pointer}` to share "
        f"it; {use}"
    )


def _target(name: str) -> Path:
    """Return the folder of a name; raise DataError for a name that a folder, DVC or conf/ could misread."""
    if not NAME.fullmatch(name) or len(name) > LONGEST or name.endswith(".dvc"):
        raise DataError(
            f"NAME = {name[:LONGEST]!r}: must be at most {LONGEST} letters, digits, `_`, `.` and `-`, begin with a letter or a "
            "digit, and not end with .dvc"
        )
    if name.lower() == params.NOTHING.name:
        raise DataError(f"NAME = {name}: means to start from nothing; choose another name")
    return ADAPTERS / name


def _hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file by its name in the folder, without the cards that `keep` adds."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (CARD, MODEL_CARD)]
    return {path.relative_to(folder).as_posix(): files.file_hash(path) for path in paths}


def _is_kept(target: Path, held: dict[str, str]) -> bool:
    """Return whether the copy is there already; raise DataError if the name is taken by another one."""
    if target.exists() and _hashes(target) != held:
        raise DataError(f"{target}: holds other content; choose another name")
    if not target.exists() and (how := files.how_to_pull(target)):
        raise DataError(f"{target}.dvc: the name is taken by a copy that is not here; choose another name, or {how}")
    return target.exists()


def _card(experiment: str, seed: int, what: str, held: dict[str, str]) -> Card:
    manifest = read_manifest()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports", ":!dvc.lock")
    weights = {name: file.sha256 for name, file in manifest.files.items() if name.endswith(".safetensors")}
    return Card(
        experiment=experiment,
        seed=seed,
        what=what,
        commit=git("rev-parse", "HEAD").decode().strip() + (" with changes" if changed else ""),
        base=Base(name=manifest.model.name, weights=weights),
        files=held,
        content=records.content_hash(held),
    )


def _copy(source: Path, target: Path, card: Card, report: Path | None) -> None:
    """Copy weights, card and the report's model card if it is of the run in dvc.lock."""
    if report:
        outputs.require_of_run(report)
    with files.whole_folder(target) as part:
        shutil.copytree(source, part, dirs_exist_ok=True, copy_function=shutil.copyfile)  # DVC's own files are read-only
        if report and report.is_file():
            shutil.copyfile(report, part / MODEL_CARD)
        files.write_json(part / CARD, card.model_dump())


def _track(target: Path, is_new: bool) -> None:
    """Let DVC track the folder; if it cannot, remove a new one and raise DataError with DVC's reason."""
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(target)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if run.returncode:
        if is_new:
            shutil.rmtree(target)
        lines = [line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if line.startswith("ERROR")]
        raise DataError(f"{target}: DVC cannot track it: {lines[0] if lines else f'status {run.returncode}'}; nothing is kept")
