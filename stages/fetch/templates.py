"""Write the prompt of a row in one of several wordings: texts in which {{ name }} stands for a column of the row."""

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from stages.errors import DataError
from stages.fetch.table import as_text
from stages.params import SLOT, Wording
from stages.records import content_hash


def worded(place: str, row: Mapping[str, Any], wordings: Sequence[Wording], seed: int, key: str) -> tuple[str, int]:
    """Return the prompt of a row and the number of its wording from 1, drawn from seed and key by the shares."""
    ends = list(accumulate(wording.share for wording in wordings))
    drawn = int(content_hash([seed, "wording", key])[:13], 16) / 16**13 * ends[-1]
    number = next(number for number, end in enumerate(ends, start=1) if drawn < end or number == len(ends))
    return filled(place, row, wordings, number), number


def usual(wordings: Sequence[Wording]) -> int:
    """Return the number of the wording with the largest share, of equal ones the first."""
    return max(range(1, len(wordings) + 1), key=lambda number: wordings[number - 1].share)


def filled(place: str, row: Mapping[str, Any], wordings: Sequence[Wording], number: int) -> str:
    """Return the prompt of a row in the wording of a number.

    The values of the row are data: what looks like a template in them stays text. Other values than text are written as JSON,
    null as nothing.
    """
    wording = wordings[number - 1].text
    if lacking := [name for name in SLOT.findall(wording) if name not in row]:
        there = ", ".join(repr(name[:40]) for name in list(row)[:30])
        raise DataError(f"{place}: data.wordings[{number}] names the column {lacking[0][:40]!r}; the columns are {there}")
    text = SLOT.sub(lambda slot: _written(row[slot[1]]), wording)
    if not text.strip():
        raise DataError(f"{place}: data.wordings[{number}] gives no text; name a column that is not empty")
    return as_text(place, f"data.wordings[{number}]", text)


def _written(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
