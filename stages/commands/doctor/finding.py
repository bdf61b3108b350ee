"""A finding of `tunetrail doctor`, and how to recognise what no process uses any more."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Finding:
    """A problem at a place; `repair` is what --fix calls, None where only a person can decide."""

    severity: str
    where: str
    problem: str
    remedy: str
    repair: Callable[[], Any] | None = None


def deleted(severity: str, path: Path, problem: str, remedy: str = "delete it") -> Finding:
    """Return a finding that --fix repairs by deleting the file or folder."""

    def repair() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return Finding(severity, str(path), problem, remedy, repair)


def alive(pid: int) -> bool:
    """Return whether the process runs; a zombie does not, although DVC waits for it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def age(path: Path) -> float:
    """Return the seconds since the last change of a file, or of anything in a folder."""
    try:
        return time.time() - max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    except OSError:  # it changes at this moment
        return 0
