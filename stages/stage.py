"""End every stage and command cleanly: one line per mistake on stderr, exit code 1, no traceback, no control characters."""

import sys
import zlib
from collections.abc import Callable

from stages import terminal
from stages.errors import DataError, reason
from stages.terminal import visible

TORCH_FULL = ("PytorchStreamWriter", "unexpected pos", "iostream error")  # in errors of torch.save if the disk is full


def run(main: Callable[[], None]) -> None:
    """Call `main`; a DataError, a full disk or an interruption ends the process with a clear line."""
    terminal.guard()
    try:
        main()
    except DataError as error:
        raise SystemExit("\n".join(f"error: {line}" for line in visible(str(error)).splitlines())) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(visible(f"error: {where}{error.strerror or error}")) from None
    except zlib.error as error:
        raise SystemExit(f"error: a downloaded archive is damaged ({error}); clear pip's cache and run again") from None
    except Exception as error:
        if isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_FULL):
            raise SystemExit(
                f"error: a checkpoint cannot be stored: {reason(error)}; make room on the disk and run again: "
                "training resumes from the last complete checkpoint in .tunetrail/"
            ) from None
        if "(os error " not in str(error):  # tokenizers and safetensors, written in Rust, say so if the disk is full
            raise
        raise SystemExit(f"error: a file cannot be stored: {error}; make room in the cache folder or on the disk") from None
    except KeyboardInterrupt:
        print("interrupted; the next run continues from the last checkpoint or answer", file=sys.stderr)
        raise SystemExit(130) from None
