"""One of the processes that launch.py starts for a stage: `python -m stages.training.child stages.train 42`."""

import ctypes
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from stages import stage
from stages.files import write_json
from stages.training import processes

PR_SET_PDEATHSIG = 1  # as in prctl.h


def main() -> None:
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, also while it waits for another process; the parent prints
    if not processes.is_first():
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.dup2(null, sys.stderr.fileno())
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    try:
        stage.run(import_module(f"{module}.__main__").main)
    except SystemExit as end:
        if isinstance(end.code, str):
            _fail(end.code)
        raise
    except Exception:
        _fail(traceback.format_exc())


def _end_with_parent() -> None:
    """Let the kernel end this process when its parent ends, also after `kill -9`; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.kill(int(os.environ[processes.PARENT]), 0)  # raises an error if it ended before


def _fail(message: str) -> NoReturn:
    """Leave the message to the parent, in the file that torch's launcher names, and end without waiting for the others."""
    write_json(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), {"message": message, "timestamp": int(time.time())})
    sys.stdout.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
