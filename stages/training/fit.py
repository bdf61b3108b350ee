"""Fit opened weights, store them and return figures of the run; a killed run resumes from its last checkpoint."""

import time
from pathlib import Path

from stages import provenance
from stages.figures.training import Training, TrainingCost
from stages.training import adapt, dataset, processes, run
from stages.training.opening import Opened


def fit(opened: Opened, unfinished: Path, folder: Path, started: float) -> tuple[Training, TrainingCost]:
    """Train, store the weights in `folder`, print their number, and return the figures and the cost since `started`.

    `started` is a time of time.monotonic().
    """
    options, runtime, manifest = opened.options, opened.runtime, opened.manifest
    result = run.train(
        opened.lm, opened.rows, options, runtime, seed=opened.seed, unfinished=unfinished, penalty=opened.penalty
    )
    processes.leave_the_rest_to_the_first()
    saved = adapt.save(opened.lm, folder, manifest)
    training = Training(
        model_bytes=manifest.weight_bytes,
        **saved,
        **dataset.figures(opened.rows.train),
        steps=result.steps,
        log=result.log,
        validation=result.validation,
    )
    cost = TrainingCost(
        seconds=round(result.earlier_seconds + time.monotonic() - started, 1),
        train_seconds=result.train_seconds,
        tokens_per_second=result.tokens_per_second,
        resumed_at_step=result.resumed_at_step,
        micro_batch_size=runtime.rows(options.batch_size),
        processes=processes.count(),
        **result.memory,
        machine=provenance.machine(runtime),
    )
    print(f"{training.trainable_parameters:,} of {training.total_parameters:,} parameters in {cost.seconds} s")
    return training, cost
