"""Outputs of the pipeline that a command reads; a fresh clone does not have them."""

from pathlib import Path

from stages.errors import DataError

PREDICTIONS = Path("data/predictions")


def require(*paths: Path) -> None:
    """Raise DataError unless all of these files and folders exist."""
    if missing := [path for path in paths if not path.exists()]:
        raise DataError(f"{missing[0]}: no such file; run `dvc repro` first")


def answers_of(system: str) -> Path:
    """Return the file with a system's answers; if there are none, raise DataError that names the systems with answers."""
    path = PREDICTIONS / f"{system}.jsonl"
    if not _size(path):
        remedy = "no such file; run `dvc repro` first"
        if path.is_file():  # base_passage, which predict writes in any case
            remedy = "no answers; `dvc exp run -S predict.passage=true` writes them"
        known = sorted(other.stem for other in PREDICTIONS.glob("[!.]*.jsonl") if _size(other))
        choice = f", or choose one of these systems: {', '.join(known)}" if known else ""
        raise DataError(f"{path}: {remedy}{choice}")
    return path


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
