"""Who else works in this clone: DVC, or `make experiment`.

`make experiment` runs through this module: python -m stages.commands.clone NAME COMMAND ... The process becomes the command, so
that its lock ends with it and the processes that it starts.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from stages import locks, stage
from stages.commands.doctor.locks import entries, held
from stages.errors import DataError

DVC = Path(".dvc/tmp")
# Seconds that `make experiment` waits for a DVC that started at the same moment: its stages see the experiment and stop.
PATIENCE, PAUSE = 20.0, 0.2


@contextmanager
def without_experiment() -> Iterator[None]:
    """Keep `make experiment` from starting while the block runs; refuse the block while one runs, except in its processes."""
    locks.refuse_experiment()
    is_own = locks.OWNER in os.environ
    with nullcontext() if is_own else locks.exclusive(locks.EXPERIMENT):
        deadline = time.monotonic() + PATIENCE
        while is_own and _running() and time.monotonic() < deadline:
            time.sleep(PAUSE)
        refuse_running()
        yield


def refuse_running() -> None:
    """Raise DataError while DVC runs here: its stages read params.yaml and replace outputs one by one."""
    if running := _running():
        raise DataError(f"{DVC}: {running} runs in this clone; wait until it ends")


def _running() -> str:
    """Return what runs DVC in this clone; nothing if nobody does."""
    try:
        writers = entries(DVC / "rwlock")[0].get("write", {}).values()
        running = [f"process {writer['pid']} ({writer['cmd']})" for writer in writers]
    except (OSError, ValueError):
        running = []
    return [*running, "a command of DVC"][0] if running or held(DVC / "lock") else ""


def main() -> None:
    """Take the clone for the experiment NAME and become COMMAND."""
    name, *command = sys.argv[1:]
    locks.refuse_experiment()
    refuse_running()  # before the lock too: DVC's stages would stop at a lock that is held for this check alone
    lock = locks.take(locks.EXPERIMENT, f"make experiment NAME={name}")
    refuse_running()
    os.set_inheritable(lock.fileno(), True)
    os.environ[locks.OWNER] = str(os.getpid())
    os.execvp(command[0], command)


if __name__ == "__main__":
    stage.run(main)
