"""Try a few steps of `pretrain` or `train`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Literal

from stages import device
from stages.commands.plan import measures
from stages.commands.plan.machine import Probe
from stages.models.manifest import read_manifest
from stages.params import Fit, Params, Runtime
from stages.training import run
from stages.training.arguments import arguments
from stages.training.opening import Opened, open_pretraining, open_training
from stages.training.run import Rows
from stages.training.trainer import ByLength


def training(p: Params, what: str, micro_batch_size: int | Literal["auto"]) -> Probe:
    """Train with the longest batch, then with a few of other lengths, and measure validation too."""
    runtime = p.runtime.model_copy(update={"micro_batch_size": micro_batch_size})
    libraries, memory = measures.resident(), device.Memory(device.kind(runtime))
    opened = _opened(p, what, runtime)
    model, rows, runtime, options = opened.lm.model, opened.rows, opened.runtime, opened.options
    lengths = [len(ids) for ids in rows.train["input_ids"]]
    batches = measures.batches(_order(options, p.seeds[0], rows, lengths), lengths, options, runtime)
    started = measures.since_start()
    clock, validated, optimizer = _tried(opened, batches.tried)
    steps, step = run.steps(len(rows.train), options), batches.mean_step(clock)
    watched = steps // options.eval_steps * min(options.eval_rows, len(rows.valid))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return Probe(
        parameters=read_manifest().parameters,
        trained=sum(weight.numel() for weight in trained),
        libraries=libraries,
        weights=sum(weight.nbytes for weight in model.parameters() if not weight.requires_grad),
        training=sum(2 * weight.nbytes for weight in trained) + optimizer,
        peak=memory.peak(),
        rows=runtime.rows(options.batch_size),
        seconds=started + steps * step + watched * validated,
        units=steps,
        unit_seconds=step,
    )


def _opened(p: Params, what: str, runtime: Runtime) -> Opened:
    """Return an opened training; what `pretrain` will store for `train` is not there yet, and has the size of fresh weights."""
    manifest, seed = read_manifest(), p.seeds[0]
    if what == "pretrain" and p.pretrain.type == "documents":
        return open_pretraining(p, p.pretrain, runtime, manifest, seed)
    return open_training(p, runtime, manifest, seed, p.train.start)


def _order(options: Fit, seed: int, rows: Rows, lengths: list[int]) -> list[Sequence[int]]:
    """Return the rows of each step of an epoch, as the trainer groups them, or in a random order like the trainer's."""
    size = options.batch_size
    shuffled = Random(seed).sample(range(len(lengths)), len(lengths))
    order = [*ByLength(rows.train, size, seed)] if options.group_by_length else shuffled
    return measures.parts(order, size)


def _tried(opened: Opened, tried: list[Sequence[int]]) -> tuple[measures.Clock, float, int]:
    """Return the clock of the steps, the seconds of a row in validation, and the optimizer's bytes."""
    rows = Rows(opened.rows.train.select([row for batch in tried for row in batch]), opened.rows.valid.select([]))
    options = opened.options.model_copy(update={"early_stopping_patience": None})
    clock, validated = measures.Clock(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        how = arguments(options, opened.runtime, opened.seed, Path(folder), validate=False)
        how.train_sampling_strategy, how.save_strategy, how.report_to, how.max_steps = "sequential", "no", [], len(tried)
        worker = run.trainer(opened.lm, rows, options, how, opened.penalty)
        worker.add_callback(clock)
        with run.own_casts(opened.lm.model):
            worker.train()
            watched = opened.rows.valid.select(range(min(options.eval_rows, len(opened.rows.valid), 8)))
            if len(watched):
                validated = measures.seconds(lambda: worker.evaluate(watched)) / len(watched)
    return clock, validated, measures.held(worker.optimizer)
