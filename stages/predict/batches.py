"""Form batches of prompts: by rows on a CPU, by tokens on a GPU."""

import sys
from collections.abc import Iterable
from typing import NamedTuple

from stages import device
from stages.models import memory
from stages.models.loading import LanguageModel

SHARE = 0.5  # of the memory that the weights leave; the rest is for logits, copies of the cache and fragments


class Limits(NamedTuple):
    """Limits of a batch: its rows, and its tokens, which are rows times the longest prompt with its answer."""

    rows: int
    tokens: int = sys.maxsize


def limits(lm: LanguageModel, batch_size: int) -> Limits:
    """Return the limits of a batch on the model's device: `batch_size` rows on a CPU, on a GPU the tokens that fit.

    With a batch size of 1, a GPU answers row by row too.
    """
    kind = lm.model.device.type
    if kind == "cpu" or batch_size == 1:
        return Limits(batch_size)
    room = int(SHARE * device.free_memory(kind) / memory.decoded(lm.model.config, lm.model.dtype.itemsize))
    # A row's neighbours can change its text. With a power of two, batches change only where free memory crosses one, so runs
    # on one machine repeat as long as what else uses the GPU stays about the same.
    return Limits(sys.maxsize, 1 << max(0, room.bit_length() - 1))


def split(rows: Iterable[tuple[int, int]], most: Limits) -> list[list[int]]:
    """Return the numbers of the rows in batches; `rows` are (number, tokens of prompt and answer), short rows first."""
    batches: list[list[int]] = []
    for number, tokens in rows:
        if batches and len(batches[-1]) < most.rows and (len(batches[-1]) + 1) * tokens <= most.tokens:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches
