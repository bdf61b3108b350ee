"""Who else works in this clone: DVC, or `make experiment`.

`make experiment` runs through this module: python -m stages.commands.clone NAME COMMAND ... The process becomes the command, so
that its lock ends with it and the processes that it starts.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from stages import locks, stage
from stages.commands.doctor.locks import entries, held
from stages.errors import DataError

DVC = Path(".dvc/tmp")


@contextmanager
def without_experiment() -> Iterator[None]:
    """Keep `make experiment` from starting while the block runs; refuse the block while one runs, except in its processes."""
    locks.refuse_experiment()
    with nullcontext() if locks.OWNER in os.environ else locks.exclusive(locks.EXPERIMENT):
        refuse_running()
        yield


def refuse_running() -> None:
    """Raise DataError while DVC runs here: its stages read params.yaml and replace outputs one by one."""
    try:
        writers = entries(DVC / "rwlock")[0].get("write", {}).values()
        running = [f"process {writer['pid']} ({writer['cmd']})" for writer in writers]
    except (OSError, ValueError):
        running = []
    if running or held(DVC / "lock"):
        raise DataError(f"{DVC}: {[*running, 'a command of DVC'][0]} runs in this clone; wait until it ends")


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
