"""What trial runs measure with: the batches to try, the time of steps and tokens, and the memory of the process."""

import ctypes
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
import torch
from transformers import TrainerCallback

from stages import device
from stages.generation.decoding import Completion
from stages.models.loading import LanguageModel
from stages.models.memory import cached
from stages.params import Optimization, Runtime
from stages.training.arguments import WIDTHS

TOKENS = 16  # that a trial decodes after the first one
STEPS = 3  # to time, after the one with the longest rows
T = TypeVar("T")
Decode = Callable[[LanguageModel, Sequence[list[int]], int], list[Completion]]


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.monotonic())

    @property
    def timed(self) -> list[float]:
        """Return the seconds of the steps after the first."""
        return [after - before for before, after in pairwise(self.ends)]


@dataclass(frozen=True)
class Batches:
    """The rows of each step of an epoch, and those to try: a batch that takes the most memory, then a few of other sizes."""

    order: list[Sequence[int]]
    tried: list[Sequence[int]]
    padded: Callable[[Sequence[int]], int]

    def mean_step(self, clock: Clock) -> float:
        """Return the seconds of a step of the epoch, given those of the tried ones: time grows with tokens and padding."""
        return sum(clock.timed) / sum(map(self.padded, self.tried[1:])) * sum(map(self.padded, self.order)) / len(self.order)


def batches(order: list[Sequence[int]], lengths: Sequence[int], options: Optimization, runtime: Runtime) -> Batches:
    """Return the batches to try of an epoch whose rows have these lengths in tokens."""
    width, together = WIDTHS if device.kind(runtime) == "cpu" else 1, runtime.rows(options.batch_size)

    def padded(batch: Sequence[int]) -> int:
        of_passes = [[lengths[row] for row in part] for part in parts(batch, together)]
        return sum(len(part) * -(-max(part) // width) * width for part in of_passes)

    by_size = sorted(order, key=padded)
    others = (by_size[(2 * step + 1) * len(by_size) // (2 * STEPS)] for step in range(STEPS))
    return Batches(order, [by_size[-1], *others], padded)


class Decoded(NamedTuple):
    """The seconds of all batches, the tokens that these decode one after the other, and the seconds of one.

    `further` are bytes: what the cache of the longest batch gains after the trial.
    """

    seconds: float
    tokens: int
    token: float
    further: int


def decoded(
    lm: LanguageModel, formed: Sequence[Sequence[list[int]]], tokens: Sequence[int], most: int, decode: Decode
) -> Decoded:
    """Decode a few tokens of the middle batch and of the longest prompts.

    `formed` are all batches of prompts, short ones first, and `tokens` how many each is expected to decode, at `most`.
    """
    middle, prompts = formed[(len(formed) - 1) // 2], [prompt for batch in formed for prompt in batch]
    longest = prompts[-max(map(len, formed[-2:])) :]
    _timed(lm, middle[:2], 2, decode)  # the first use of everything costs extra
    first, token = _timed(lm, middle, min(most, 1 + TOKENS), decode)
    _timed(lm, longest, min(most, 2), decode)
    share = sum(map(len, prompts)) / sum(map(len, middle))
    further = len(longest) * max(0, most - 2) * cached(lm.model.config, lm.model.dtype.itemsize)
    return Decoded(first * share + token * sum(tokens), sum(tokens), token, further)


def _timed(lm: LanguageModel, prompts: Sequence[list[int]], tokens: int, decode: Decode) -> tuple[float, float]:
    """Decode at most `tokens` per row; return the seconds to the first one, and for each further one of the batch."""
    ends: list[float] = []
    hook = lm.model.register_forward_hook(lambda *_: ends.append(time.monotonic()))
    started = time.monotonic()
    further = max(answer.new_tokens for answer in decode(lm, prompts, tokens)) - 1
    hook.remove()
    first = ends[-1 - further]
    return first - started, (ends[-1] - first) / max(1, further)


def held(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of an optimizer's state."""
    values = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def since_start() -> float:
    """Return the seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def middle(items: Sequence[T], size: int) -> Sequence[T]:
    """Return `size` items around the middle."""
    start = max(0, (len(items) - size) // 2)
    return items[start : start + size]


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def forget_peak() -> None:
    """Let the peak of resident memory begin again, without freed blocks; where glibc or Linux is missing, it remains."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # "Reset peak resident set size" in the kernel's filesystems/proc.rst
