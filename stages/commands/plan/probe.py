"""Try a few steps of a training, or decode a few tokens.

Usage: python -m stages.commands.plan.probe (pretrain|train|pairs|align|<system>) (<rows>|auto)

It runs in a process of its own, so that its peak of memory is that of the run; `rows` is the size of micro-batches or
batches. The longest one needs the most memory, and time grows with its tokens, padding included. Prints a Probe as JSON.
"""

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from stages import params, stage
from stages.commands.plan.machine import TOO_LARGE, Probe
from stages.params import Params

FULL = ("can't allocate memory", "out of memory")


def main() -> None:
    _volunteer()
    p, what, rows = params.check_file(), sys.argv[1], sys.argv[2]
    try:
        print(json.dumps(asdict(measured(p, what, rows))))
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in FULL):
            raise SystemExit(TOO_LARGE) from None
        raise


def measured(p: Params, what: str, rows: str) -> Probe:
    """Return what a trial of a stage or system measures; each starts without the libraries of the others."""
    match what:
        case "pretrain" | "train":
            from stages.commands.plan import fits

            return fits.training(p, what, int(rows) if rows.isdigit() else "auto")
        case "pairs":
            from stages.commands.plan import pairs

            return pairs.pairs(p, int(rows))
        case "align":
            from stages.commands.plan import alignment

            return alignment.alignment(p, int(rows) if rows.isdigit() else "auto")
        case system:
            from stages.commands.plan import predictions

            return predictions.predictions(p, system, int(rows))


def _volunteer() -> None:
    """Let the kernel end this process, rather than another one of the user's, when memory runs out."""
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    stage.run(main)
