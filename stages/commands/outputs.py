"""Outputs of the pipeline that a command reads; a fresh clone does not have them."""

from pathlib import Path

from stages.errors import DataError

PREDICTIONS = Path("data/predictions")


def require(*paths: Path) -> None:
    """Raise DataError unless all of these files and folders exist."""
    if missing := [path for path in paths if not path.exists()]:
        raise DataError(f"{missing[0]}: no such file; run `dvc repro` first")


def answers_of(system: str) -> Path:
    """Return the file with a system's answers; if there is none, raise DataError that names the systems that have one."""
    path = PREDICTIONS / f"{system}.jsonl"
    if not path.is_file():
        known = sorted(other.stem for other in PREDICTIONS.glob("[!.]*.jsonl"))
        choice = f", or choose one of these systems: {', '.join(known)}" if known else ""
        raise DataError(f"{path}: no such file; run `dvc repro` first{choice}")
    return path
