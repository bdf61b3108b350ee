"""Keep the checkpoints of unfinished training outside the outputs, keyed by everything that decides the result.

Another configuration, other rows or other code get another folder, so that a run never resumes from a wrong checkpoint.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages import fingerprint, locks
from stages.files import file_hash
from stages.params import Params, Runtime
from stages.records import content_hash
from stages.training import processes

ROOMS = ("training", "models", "text")


def folder(seed: int, p: Params, runtime: Runtime, files: list[Path], rooms: tuple[str, ...] = ROOMS) -> Path:
    """Return `$DVC_ROOT/.tunetrail/checkpoints/<fingerprint>`; DVC_ROOT is the repository, in temporary runs too.

    `rooms` are the folders whose code decides the result.
    """
    inputs = [file_hash(path) for path in files]
    key = content_hash([seed, p.model_dump(), runtime.model_dump(), inputs, fingerprint.code(*rooms)])[:16]
    return Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "checkpoints" / key


@contextmanager
def kept(unfinished: Path) -> Iterator[Path]:
    """Hold the lock of the folder while a run works in it, and remove it when the run has stored its result.

    An experiment elsewhere with the same parameters would write the same checkpoints. Of several processes of a run, the first
    one does so for all.
    """
    if not processes.is_first():
        yield unfinished
        return
    with locks.exclusive(unfinished):
        yield unfinished
        clear(unfinished)


def newest(unfinished: Path) -> Path | None:
    """Return the newest complete checkpoint; remove those cut short by a kill (trainer_state.json is written last)."""
    found = sorted(unfinished.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[-1]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            return path
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def clear(unfinished: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(unfinished, ignore_errors=True)
