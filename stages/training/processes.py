"""Which of the processes of a stage this one is; launch.py starts several of them if runtime.processes asks for it."""

import os

PARENT = "TUNETRAIL_PARENT"  # in the environment of each launched process: the number of the process that started it


def launched() -> bool:
    return PARENT in os.environ


def count() -> int:
    """Return how many processes share the work of this stage; torch's launcher sets WORLD_SIZE."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_first() -> bool:
    """Return whether this process holds the locks, writes and prints."""
    return not launched() or os.environ["RANK"] == "0"


def leave_the_rest_to_the_first() -> None:
    """End every other process: its part is done."""
    if not is_first():
        raise SystemExit(0)
