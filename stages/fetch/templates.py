"""Write the prompt of a row in one of several wordings: templates of Jinja with the row's columns."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from stages.errors import DataError
from stages.fetch.table import as_text
from stages.params import Wording
from stages.records import content_hash


def worded(place: str, row: Mapping[str, Any], wordings: Sequence[Wording], seed: int, key: str) -> tuple[str, int]:
    """Return the prompt of a row and the number of its wording from 1, drawn from seed and key by the shares.

    The values of the row are data: what looks like a template in them stays text.
    """
    ends = list(accumulate(wording.share for wording in wordings))
    drawn = int(content_hash([seed, "wording", key])[:13], 16) / 16**13 * ends[-1]
    number = next(number for number, end in enumerate(ends, start=1) if drawn < end or number == len(ends))
    try:
        values = {name: "" if value is None else value for name, value in row.items()}
        text = _template(wordings[number - 1].text).render({**values, "row": values})
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        there = ", ".join(repr(name[:40]) for name in list(row)[:30])
        raise DataError(f"{place}: data.wordings[{number}] cannot be written ({error}); the columns are {there}") from None
    if not text.strip():
        raise DataError(f"{place}: data.wordings[{number}] gives no text; name a column that is not empty")
    return as_text(place, f"data.wordings[{number}]", text), number


@lru_cache
def _template(text: str) -> Template:
    return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)
