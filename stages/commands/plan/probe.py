"""Try a few training steps, or decode a few tokens.

Usage: python -m stages.commands.plan.probe (pretrain|train|<system>) (<rows>|auto)

It runs in a process of its own, so that its peak of memory is that of the run; `rows` is the size of micro-batches or
batches. The longest one needs the most memory, and time grows with its tokens, padding included. Prints a Probe as JSON.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

import psutil
import torch
from transformers import TrainerCallback

from stages import device, params, records, stage
from stages.commands.plan.machine import TOO_LARGE, Probe
from stages.generation import decoding
from stages.models.loading import LanguageModel, open_base
from stages.models.manifest import read_manifest
from stages.models.memory import cached
from stages.params import WHOLE, Fit, Params, Runtime
from stages.predict import answers, batches
from stages.records import Example
from stages.text import chat
from stages.text.prompts import shots_by_dataset, with_shots
from stages.training import run
from stages.training.arguments import WIDTHS, arguments
from stages.training.opening import Opened, open_pretraining, open_training
from stages.training.run import Rows
from stages.training.trainer import ByLength

TOKENS = 16  # that a probe decodes after the first one
STEPS = 3  # to time, after the one with the longest rows
T = TypeVar("T")
FULL = ("can't allocate memory", "out of memory")


def main() -> None:
    _volunteer()
    p, what, rows = params.check_file(), sys.argv[1], sys.argv[2]
    try:
        if what in ("pretrain", "train"):
            probe = training(p, what, int(rows) if rows.isdigit() else "auto")
        else:
            probe = predictions(p, what, int(rows))
        print(json.dumps(asdict(probe)))
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in FULL):
            raise SystemExit(TOO_LARGE) from None
        raise


def _volunteer() -> None:
    """Let the kernel end this process, rather than another one of the user's, when memory runs out."""
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def training(p: Params, what: str, micro_batch_size: int | Literal["auto"]) -> Probe:
    """Train with the longest batch, then with a few of other lengths, and measure validation too."""
    runtime = p.runtime.model_copy(update={"micro_batch_size": micro_batch_size})
    libraries, memory = _resident(), device.Memory(device.kind(runtime))
    opened = _opened(p, what, runtime)
    model, rows, runtime, options = opened.lm.model, opened.rows, opened.runtime, opened.options
    together = runtime.rows(options.batch_size)
    lengths = [len(ids) for ids in rows.train["input_ids"]]
    order = _batches(options, p.seeds[0], rows, lengths)

    def padded(batch: Sequence[int]) -> int:
        width = WIDTHS if device.kind(runtime) == "cpu" else 1
        parts = [[lengths[row] for row in part] for part in _parts(batch, together)]
        return sum(len(part) * -(-max(part) // width) * width for part in parts)

    by_size = sorted(order, key=padded)
    tried = [by_size[-1], *(by_size[(2 * step + 1) * len(by_size) // (2 * STEPS)] for step in range(STEPS))]
    started = time.time()
    times, validated, optimizer = _tried(opened, tried)
    seconds = sum(after - before for before, after in pairwise(times)) / sum(map(padded, tried[1:]))
    steps = run.steps(len(rows.train), options)
    step = seconds * sum(map(padded, order)) / len(order)
    watched = steps // options.eval_steps * min(options.eval_rows, len(rows.valid))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return Probe(
        parameters=read_manifest().parameters,
        trained=sum(weight.numel() for weight in trained),
        libraries=libraries,
        weights=sum(weight.nbytes for weight in model.parameters() if not weight.requires_grad),
        training=sum(2 * weight.nbytes for weight in trained) + optimizer,
        peak=memory.peak(),
        rows=together,
        seconds=started - psutil.Process().create_time() + steps * step + watched * validated,
        units=steps,
        unit_seconds=step,
    )


def _opened(p: Params, what: str, runtime: Runtime) -> Opened:
    """Return an opened training; what `pretrain` will store for `train` is not there yet, and has the size of fresh weights."""
    manifest, seed = read_manifest(), p.seeds[0]
    if what == "pretrain" and p.pretrain.type == "documents":
        return open_pretraining(p, p.pretrain, runtime, manifest, seed)
    return open_training(p, runtime, manifest, seed, p.train.start)


def _batches(options: Fit, seed: int, rows: Rows, lengths: list[int]) -> list[Sequence[int]]:
    """Return the rows of each step of an epoch, as the trainer groups them, or in a random order like the trainer's."""
    size = options.batch_size
    shuffled = Random(seed).sample(range(len(lengths)), len(lengths))
    order = [*ByLength(rows.train, size, seed)] if options.group_by_length else shuffled
    return _parts(order, size)


def _tried(opened: Opened, tried: list[Sequence[int]]) -> tuple[list[float], float, int]:
    """Return when each step ended, the seconds of a row in validation, and the optimizer's bytes."""
    rows = Rows(opened.rows.train.select([row for batch in tried for row in batch]), opened.rows.valid.select([]))
    options = opened.options.model_copy(update={"early_stopping_patience": None})
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        how = arguments(options, opened.runtime, opened.seed, Path(folder), validate=False)
        how.train_sampling_strategy, how.save_strategy, how.report_to, how.max_steps = "sequential", "no", [], len(tried)
        worker = run.trainer(opened.lm, rows, options, how, opened.penalty)
        worker.add_callback(clock)
        with run.own_casts(opened.lm.model):
            worker.train()
            watched = opened.rows.valid.select(range(min(options.eval_rows, len(opened.rows.valid), 8)))
            started = time.monotonic()
            if len(watched):
                worker.evaluate(watched)
    validated = (time.monotonic() - started) / max(1, len(watched))
    state = worker.optimizer.state.values()
    held = [value for values in state for value in values.values() if isinstance(value, torch.Tensor)]
    return clock.ends, validated, sum(value.nbytes for value in held)


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.monotonic())


def predictions(p: Params, system: str, size: int) -> Probe:
    """Decode a few tokens of the batch with the longest prompts and of a middle one; `tuned` answers like the references.

    The tuned model has the base's size once its adapter is merged; afterwards, the model that the agreement is measured with
    is in memory too. An untuned model is expected to use all tokens it may.
    """
    libraries, memory = _resident(), device.Memory(device.kind(p.runtime))
    lm = open_base(p.runtime)
    opened = time.time() - psutil.Process().create_time()
    examples = list(records.read(Path(f"data/formatted/{p.predict.split}.jsonl"), Example))
    shots = shots_by_dataset(system, examples)
    prompts = {e.id: chat.prompt_ids(lm.tokenizer, with_shots(e.prompt, shots[e.dataset])) for e in examples}
    examples.sort(key=lambda example: (len(prompts[example.id]), example.id))
    most = p.predict.max_new_tokens
    widths = ((row, len(prompts[e.id]) + most) for row, e in enumerate(examples))
    formed = [[examples[row] for row in batch] for batch in batches.split(widths, batches.limits(lm, size))]
    middle, longest = formed[(len(formed) - 1) // 2], examples[-max(map(len, formed[-2:])) :]
    _decoded(lm, [prompts[e.id] for e in middle[:2]], 2)  # the first use of everything costs extra
    first, token = _decoded(lm, [prompts[e.id] for e in middle], 1 + TOKENS)
    _decoded(lm, [prompts[e.id] for e in longest], 2)
    wanted = examples[: p.predict.likelihood_rows]
    some = wanted[: len(middle)]
    scored = _seconds(lambda: answers.references(lm, some, [prompts[e.id] for e in some], size)) / max(1, len(some))
    chosen = _seconds(lambda: [answers.choices(lm, e, prompts[e.id]) for e in middle[:4]]) / len(middle[:4])
    answer = {e.id: len(chat.answer_ids(lm.tokenizer, e.messages)) for e in examples} if system == "tuned" else {}
    tokens = sum(min(most, max(answer.get(e.id, most) for e in batch)) for batch in formed)
    share = sum(map(len, prompts.values())) / sum(len(prompts[e.id]) for e in middle)
    second = _second(p) if system == "tuned" and p.predict.agreement_rows else 0
    return Probe(
        parameters=read_manifest().parameters,
        trained=0,
        libraries=libraries,
        weights=sum(weight.nbytes for weight in lm.model.parameters()) + second,
        training=0,
        peak=memory.peak() + second + len(longest) * max(0, most - 2) * cached(lm.model.config, lm.model.dtype.itemsize),
        rows=len(longest),
        seconds=opened + first * share + token * tokens + scored * len(wanted) + chosen * len(examples),
        units=tokens,
        unit_seconds=token,
    )


def _second(p: Params) -> int:
    """Return the bytes of the model that the agreement is measured with: its file, which is mapped while read, and its weights.

    A whole model is stored in fp32. Weights count in bf16, in which some are before they are quantized.
    """
    stored, held = 4 if p.adapter.type in WHOLE else 2, 2
    return (stored + held) * read_manifest().parameters


def _decoded(lm: LanguageModel, prompts: Sequence[list[int]], tokens: int) -> tuple[float, float]:
    """Decode at most `tokens` per row; return the seconds to the first one, and for each further one of the batch."""
    ends: list[float] = []
    hook = lm.model.register_forward_hook(lambda *_: ends.append(time.monotonic()))
    started = time.monotonic()
    further = max(answer.new_tokens for answer in decoding.greedy(lm, prompts, tokens)) - 1
    hook.remove()
    first = ends[-1 - further]
    return first - started, (ends[-1] - first) / max(1, further)


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    stage.run(main)
