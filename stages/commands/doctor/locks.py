"""What a kill leaves in the locks of DVC, and in dvc.lock."""

import fcntl
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from stages.commands.doctor.finding import Finding, alive
from stages.errors import DataError, reason
from stages.files import read_yaml, write_text


def held(path: Path) -> bool:
    """Return whether a living process locks the file as DVC does (flock): a lock of a killed one ends with it."""
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def is_used(path: Path) -> bool:
    """Return whether an rwlock names a living process, or is being written."""
    try:
        return bool(entries(path)[0])
    except (OSError, ValueError):
        return held(path.with_name("rwlock.lock"))


def rwlocks(folder: Path) -> Iterator[Finding]:
    """Yield the rwlocks that DVC cannot read after a kill, or that name dead processes.

    DVC drops a dead process itself once another command needs the same path; a zombie or another schema it does not.
    """
    for path in sorted(folder.rglob("rwlock")):
        try:
            living, dead = entries(path)
        except FileNotFoundError:  # released since it was listed
            continue
        except ValueError:
            if not held(path.with_name("rwlock.lock")):  # else DVC is writing it
                yield Finding("error", str(path), "cut by a kill, DVC cannot read it", "delete it", partial(_release, path))
            continue
        if dead:
            problem, remedy = f"names {dead} dead process{'es' * (dead > 1)}", "drop the entries" if living else "delete it"
            yield Finding("warning", str(path), problem, remedy, partial(_release, path))


def entries(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return an rwlock without the entries of dead processes, and their number; ValueError if DVC could not read it."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        readers, writers = held.pop("read", {}), held.pop("write", {})
        infos = [*writers.values(), *(info for infos in readers.values() for info in infos)]
        pids = {info["pid"] for info in infos}
        wrong = held or any(info != {"pid": int(info["pid"]), "cmd": str(info["cmd"])} for info in infos)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a lock of DVC") from error
    if wrong:
        raise ValueError(f"{path}: not a lock of DVC")
    dead = {pid for pid in pids if not alive(pid)}
    read = {key: [info for info in infos if info["pid"] not in dead] for key, infos in readers.items()}
    write = {key: info for key, info in writers.items() if info["pid"] not in dead}
    living = {"read": {key: infos for key, infos in read.items() if infos}, "write": write}
    return {mode: entries for mode, entries in living.items() if entries}, len(dead)


def _release(path: Path) -> None:
    """Drop what dead processes left in an rwlock, under the lock with which DVC guards the file."""
    with path.with_name("rwlock.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            living, _ = entries(path)
        except FileNotFoundError:
            return
        except ValueError:
            living = {}
        if living:
            write_text(path, json.dumps(living))
        else:
            path.unlink(missing_ok=True)


def lock_file(root: Path) -> Iterator[Finding]:
    """Git has the last good dvc.lock, and DVC's run cache what was computed since."""
    path = root / "dvc.lock"
    problem = _damage(path.read_bytes()) if path.is_file() else ""
    if not problem:
        return
    committed = b""
    if shutil.which("git"):
        shown = subprocess.run(["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True)
        committed = b"" if shown.returncode or _damage(shown.stdout) else shown.stdout

    def restore() -> None:
        kept = root / ".tunetrail" / "broken" / f"dvc.lock.{int(time.time())}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
        write_text(path, committed.decode())

    if committed:
        remedy = "restore the committed one and keep this one in .tunetrail/broken/; then run `dvc repro`"
        yield Finding("error", str(path), f"damaged ({problem})", remedy, restore)
    else:
        remedy = "git has no whole one: delete it and run `dvc repro`, which takes from the cache what it can"
        yield Finding("error", str(path), f"damaged ({problem})", remedy)


def _damage(content: bytes) -> str:
    """Return why DVC cannot read a dvc.lock with this content, or nothing."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(content, "dvc.lock"))
    except (DataError, Invalid) as error:
        return reason(error)
    return ""
