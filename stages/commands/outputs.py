"""Outputs of the pipeline that a command reads, which a fresh clone does not have; and what it keeps for the report."""

import sys
from pathlib import Path

from stages import figures
from stages.commands import clone
from stages.errors import DataError
from stages.figures.assessments import Assessment
from stages.files import file_hash, read_yaml
from stages.systems import is_aligned
from stages.terminal import visible

PREDICTIONS = Path("data/predictions")


def require(*paths: Path) -> None:
    """Raise DataError unless all of these files and folders exist."""
    if missing := [path for path in paths if not path.exists()]:
        raise DataError(f"{missing[0]}: no such file; run `dvc repro` first")


def require_of_run(path: Path) -> None:
    """Raise DataError if dvc.lock has another hash for a file of the report: `make experiment` may have left its own there."""
    lock = Path("dvc.lock")
    stages = (read_yaml(lock.read_bytes(), str(lock)) or {}).get("stages", {}) if lock.is_file() else {}
    known = {out.get("path"): out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    if path.is_file() and known.get(path.as_posix(), file_hash(path, "md5")) != file_hash(path, "md5"):
        raise DataError(f"{path}: belongs to another run than dvc.lock and models/; run `dvc repro`, which writes it again")


def answers_of(system: str) -> Path:
    """Return the file with a system's answers; if there are none, raise DataError that names the systems with answers."""
    path = PREDICTIONS / f"{system}.jsonl"
    if not _size(path):
        remedy = "no such file; run `dvc repro` first"
        if path.is_file():  # predict writes it in any case
            option = "preference=verifier -S align=dpo" if is_aligned(system) else "predict.passage=true"
            remedy = f"no answers; `dvc exp run -S {option}` writes them"
        known = sorted(other.stem for other in PREDICTIONS.glob("[!.]*.jsonl") if _size(other))
        choice = f", or choose one of these systems: {', '.join(known)}" if known else ""
        raise DataError(f"{path}: {remedy}{choice}")
    return path


def hashes(*paths: Path) -> dict[str, str]:
    """Return the md5 of files by their paths, as dvc.lock and the report have them."""
    return {path.as_posix(): file_hash(path, "md5") for path in paths}


def keep(path: Path, found: Assessment) -> None:
    """Write what the next report shows; raise DataError while DVC runs, whose report would miss it and count as current."""
    clone.refuse_running()
    figures.write(path, found)
    print(visible(f"{path}: written; `dvc repro` adds it to the report"), file=sys.stderr)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
