"""Text from data as a terminal may show it."""

import re

# Control characters except tab and line feed: ESC starts a sequence that recolors, moves or renames the terminal, CR overwrites
# the line. Overrides of the writing direction show other words than the text has, and UTF-8 cannot hold half a surrogate pair.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text with control characters written out, e.g. `\x1b`; line feeds and tabs stay."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
