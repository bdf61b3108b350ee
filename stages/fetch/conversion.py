"""The texts of PDF, Word and HTML files, each read by a process of its own with limits of time and memory (convert.py).

The libraries that read them are the extra `documents`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from stages.errors import DataError

LIBRARIES = {".pdf": "pypdf", ".docx": "mammoth", ".html": "markdownify", ".htm": "markdownify"}
PROGRAM = Path(__file__).with_name("convert.py")
SECONDS = 60  # of computing, for a document
MEMORY = 2 * 2**30  # bytes
WAITS = 5  # times as long, if other processes compute too


class Unreadable(Exception):
    """Why one document is left out."""


class Converted(NamedTuple):
    """A title, and the text of each page by its number; a document without pages has one text, named "".

    `missed` names elements of a Word document that are not read.
    """

    title: str
    parts: dict[str, str]
    missed: list[str]


def converted(paths: Sequence[Path]) -> dict[Path, Converted | Unreadable]:
    """Return what each file holds, or why it cannot be read; raise DataError if a library for one is not installed."""
    for path in paths:
        if not find_spec(LIBRARIES[path.suffix.lower()]):
            raise DataError(
                f"{path}: what reads {path.suffix} files is not installed; pip install -e '.[documents]', or move the file away"
            )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(_converted, paths), strict=True))


def _converted(path: Path) -> Converted | Unreadable:
    command = [sys.executable, "-P", str(PROGRAM), str(path), str(SECONDS), str(MEMORY)]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAITS * SECONDS)
    except subprocess.TimeoutExpired:
        return Unreadable(f"takes more than {WAITS * SECONDS:.0f} s to read")
    if run.returncode < 0:  # killed: by the limit of time, or by the system when memory runs out
        return Unreadable(f"takes more than {SECONDS} s or too much memory to read")
    if run.returncode:
        return Unreadable("damaged: what reads it failed")
    found = json.loads(run.stdout)
    return Unreadable(found["error"]) if "error" in found else Converted(**found)
