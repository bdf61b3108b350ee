"""One process at a time: a lock per output, which the kernel releases when its process ends, also after `kill -9`.

The lock is a file next to the output, `.<name>.lock`. It names the process that holds it, for the message to all others.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from stages.errors import DataError

EXPERIMENT = Path(".tunetrail/experiment")  # `make experiment` holds it: for a time params.yaml and the outputs are its own
OWNER = "TUNETRAIL_EXPERIMENT"  # holds the number of that process, for the stages and commands that it starts
TRIES, PAUSE = 5, 0.1  # a look at a lock holds it for a moment, and a new holder takes a moment to write its name
SHOWN = 200  # characters of a command


@contextmanager
def exclusive(output: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of an output; if another process holds it, raise DataError with its name, or `wait` for it."""
    with take(output, wait=wait) as file:
        try:
            yield
        finally:
            path_of(output).unlink(missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do if a child process has inherited the file


def take(output: Path, command: str = "", wait: bool = False) -> IO[str]:
    """Return the locked file; whoever closes it, or ends, releases the lock and leaves the file."""
    path = path_of(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = _opened(path)
        if not _locked(file, fcntl.LOCK_EX):
            holder = _described(file)
            if not wait:
                file.close()
                raise DataError(f"{output}: {holder} works on it; wait until it ends, or choose another place")
            print(f"{output}: waiting for {holder}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_current(file, path):
            file.truncate(0)
            file.write(f"{os.getpid()} {command or ' '.join(sys.orig_argv[1:])}")
            file.flush()
            return file
        file.close()  # its last holder has deleted it


def refuse_experiment() -> None:
    """Raise DataError while `make experiment` works in this clone, unless it has started this process."""
    if not path_of(EXPERIMENT).exists():
        return
    with _opened(path_of(EXPERIMENT)) as file:
        if _holder(file)[0] != os.environ.get(OWNER) and not _locked(file, fcntl.LOCK_SH):
            raise DataError(
                f"{EXPERIMENT}: {_described(file)} works in this clone with its own params.yaml; wait until it ends, or use "
                "another clone"
            )


def path_of(output: Path) -> Path:
    if not output.name:
        raise DataError(f"{output}: is a folder without a name; name a file or folder in it")
    return output.with_name(f".{output.name}.lock")


def _opened(path: Path) -> IO[str]:
    """Return the open file; a link is refused, since the file that it names would be overwritten."""
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot lock: {error.strerror}; choose another place") from None
    with suppress(PermissionError):  # another user of the clone made it, and has done this
        os.fchmod(file.fileno(), 0o666)
    return file


def _locked(file: IO[str], mode: int) -> bool:
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE if left else 0)
        except OSError as error:
            raise DataError(f"{file.name}: cannot lock: {error.strerror}; choose another place") from None
    return False


def _is_current(file: IO[str], path: Path) -> bool:
    """Return whether the path still names the locked file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> tuple[str, str]:
    """Return the process and command that a lock names; the file may hold anything, as anybody may have written it."""
    file.seek(0)
    process, _, command = file.read(SHOWN).partition(" ")
    return process if process.isdecimal() else "?", "".join(sign for sign in command if sign.isprintable())


def _described(file: IO[str]) -> str:
    process, command = _holder(file)
    since = time.strftime("%H:%M:%S", time.localtime(os.fstat(file.fileno()).st_mtime))
    return f"process {process} ({command}, since {since})"
