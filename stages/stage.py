"""How every stage and command ends when something is wrong: each mistake as a line on stderr, exit code 1, no traceback."""

import sys
from collections.abc import Callable

from stages.records import DataError


def run(main: Callable[[], None]) -> None:
    """Call `main`; a DataError, a full disk or an interruption ends the process with a clear line."""
    try:
        main()
    except DataError as error:
        raise SystemExit("\n".join(f"error: {line}" for line in str(error).splitlines())) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"error: {where}{error.strerror or error}") from None
    except KeyboardInterrupt:
        print("interrupted; the next run goes on from the last checkpoint or answer", file=sys.stderr)
        raise SystemExit(130) from None
