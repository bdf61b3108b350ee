"""What a kill leaves in the locks of DVC, and in dvc.lock."""

import fcntl
import json
import re
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

MERGE = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
HASHES = ("md5", "etag", "checksum", "files")


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

    DVC itself drops a dead process once another command needs the same path, but not a zombie or an entry of another schema.
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


def lock_file(root: Path, busy: bool) -> Iterator[Finding]:
    """Yield a damaged dvc.lock, unless DVC is running and may write it.

    Git has the last good one, and DVC's run cache has what was computed since.
    """
    path = root / "dvc.lock"
    if path.is_dir():
        yield Finding("error", str(path), "is a folder", "move it away; `git checkout dvc.lock` restores the committed file")
    if busy or not path.is_file():
        return
    content, stages = path.read_bytes(), _with_outputs(root / "dvc.yaml")
    if MERGE.search(content):
        remedy = "keep one side, e.g. `git checkout --ours dvc.lock`, then run `dvc repro`"
        yield Finding("error", str(path), "holds the marks of an unresolved merge", remedy)
        return
    problem = _damage(content, stages)
    if not problem:
        return
    committed = b""
    if shutil.which("git"):
        shown = subprocess.run(["git", "show", "HEAD:./dvc.lock"], cwd=root, capture_output=True)
        committed = b"" if shown.returncode or _damage(shown.stdout, stages) else shown.stdout

    def restore() -> None:
        kept = root / ".tunetrail" / "broken" / f"dvc.lock.{int(time.time())}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
        write_text(path, committed.decode())

    if committed:
        remedy = "restore the committed one and keep this one in .tunetrail/broken/; then run `dvc repro`"
        yield Finding("error", str(path), f"damaged ({problem})", remedy, restore)
    else:
        remedy = "git has no undamaged one: delete it and run `dvc repro`, which restores from the cache what it can"
        yield Finding("error", str(path), f"damaged ({problem})", remedy)


def _damage(content: bytes, with_outputs: set[str]) -> str:
    """Return where a dvc.lock was cut, or why DVC cannot read it; nothing if it is whole.

    A file that is cut in the middle may still be YAML of the right form, so its entries are checked for missing parts. A cut
    between two entries cannot be seen. DVC then takes the missing results from its run cache, or runs the stages again.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        written = COMPILED_LOCKFILE_SCHEMA(read_yaml(content, "dvc.lock"))
    except (DataError, Invalid) as error:
        return reason(error)
    if not content.endswith(b"\n"):
        return "its last line is cut"
    stages = written.get("stages", {})
    for name, stage in stages.items():
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
            if not {"path", "size"} <= entry.keys() or not any(entry.get(key) for key in HASHES):
                return f"stages.{name}: {entry.get('path')}: hash or size is missing"
    last = next(reversed(stages), "")
    if last.partition("@")[0] in with_outputs and not stages[last].get("outs"):
        return f"stages.{last}: outs is missing"
    return ""


def _with_outputs(path: Path) -> set[str]:
    """Return the stages of dvc.yaml that have outputs, or none if it cannot be read."""
    try:
        stages = (read_yaml(path.read_bytes(), "dvc.yaml") or {}).get("stages", {})
        return {name for name, stage in stages.items() if {"outs", "metrics", "plots"} & stage.get("do", stage).keys()}
    except (AttributeError, DataError, OSError):
        return set()
