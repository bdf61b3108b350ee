"""Text from data as a terminal may show it."""

import logging
import re
import sys
import traceback
import warnings
from typing import Any

# Control characters except tab and line feed: ESC starts a sequence that recolors, moves or renames the terminal, CR overwrites
# the line. Overrides of the writing direction show other words than the text has, and UTF-8 cannot hold half a surrogate pair.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text with control characters written out, e.g. `\x1b`; line feeds and tabs stay."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def inert(json: str) -> str:
    r"""Return JSON with control characters escaped, e.g. `\u009b`: the same values; JSON itself requires it of the first 32."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json)


class Record(logging.LogRecord):
    """A message of any logger: libraries quote names and values of models and data in theirs."""

    def getMessage(self) -> str:
        return visible(super().getMessage())

    @property
    def exc_text(self) -> str | None:
        return self._exc_text

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        self._exc_text = text and visible(text)


def guard() -> None:
    """Write out control characters in what loggers, warnings and tracebacks print from now on, those of libraries too."""
    logging.setLogRecordFactory(Record)
    warnings.formatwarning = _warning
    sys.excepthook = lambda *error: print(visible("".join(traceback.format_exception(*error))), end="", file=sys.stderr)


FORMAT_WARNING = warnings.formatwarning


def _warning(*arguments: Any, **options: Any) -> str:
    return visible(FORMAT_WARNING(*arguments, **options))
