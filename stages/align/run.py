"""Run a trainer of alignment: resume after a kill, keep the best look where early stopping asks for it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerState

from stages import device
from stages.align import trainers, weights
from stages.align.job import Job
from stages.align.looks import MARK, Look, Watch
from stages.errors import DataError
from stages.figures.alignment import AlignmentRound
from stages.models.loading import LanguageModel
from stages.params import Alignment
from stages.preferences.records import Pair
from stages.training import checkpoints
from stages.training.arguments import prepare_tracker
from stages.training.run import is_over
from stages.training.watching import Clock, Divergence

BEST = "best.safetensors"


@dataclass(frozen=True)
class Fitted:
    """A finished run: `log` holds TRL's numbers by step, `looks` those of looks; `kept_step` is that of the weights.

    `earlier_seconds` passed before a kill, up to the checkpoint that the run continued from; `seconds` holds them too.
    """

    steps: int
    kept_step: int
    log: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    seconds: float
    earlier_seconds: float
    resumed_at_step: int
    micro_batch_size: int
    memory: dict[str, float]


@dataclass(frozen=True)
class Aligned:
    """An aligned model and what it learned from: `pairs` are pairs, votes or prompts, `rounds` those of dpo.

    `right` is what looks.preferred finds for each of the pairs `held_out`; of a reward model, whether the chosen answer has
    the higher score.
    `further` are JSON files that are stored with the model.
    """

    lm: LanguageModel
    fitted: Fitted
    pairs: int
    right: list[float] = field(default_factory=list)
    held_out: Sequence[Pair] = ()
    rounds: list[AlignmentRound] = field(default_factory=list)
    further: dict[str, Any] = field(default_factory=dict)


def watch(look: Look, job: Job, held_out: Sequence[Pair] = (), unfinished: Path | None = None) -> Watch:
    """Return what looks while the model is trained: the score of the task decides, and held-out pairs where it has no rows."""
    options, score = job.options, "task" if job.valid else "pair_accuracy"
    if options.early_stopping_patience and not job.valid and not held_out:
        raise DataError(
            "align.early_stopping_patience: needs validation rows with a plain answer, or held-out pairs, and there are none; "
            "set it to null"
        )
    return Watch(look, score, options.eval_steps, options.early_stopping_patience, (unfinished or job.unfinished) / BEST)


def fit(worker: Any, watch: Watch, unfinished: Path, name: str = "") -> Fitted:
    """Train the model in place, resuming from the newest checkpoint in `unfinished`; a tracker shows it as `name`."""
    options, model = worker.options, worker.model
    watch.trainer = worker
    worker.add_callback(watch)
    checkpoint = checkpoints.newest(unfinished)
    already = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")) if checkpoint else TrainerState()
    memory, clock = device.Memory(device.kind(worker.runtime)), Clock(already)
    worker.add_callback(clock)
    worker.add_callback(Divergence(options.section))
    if checkpoint and is_over(already):  # killed while its result was stored; train() would make one more step
        worker.state = already
        worker._load_from_checkpoint(checkpoint)
    else:
        with _tracked(options, name or unfinished.name):
            worker.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = clock.seconds()
    trainers.release(model)
    log, looks = _entries(worker.state.log_history)
    best = _best(looks, watch.score) if options.early_stopping_patience else None
    if best is not None:
        weights.put(model, weights.stored(watch.best))
    return Fitted(
        steps=worker.state.global_step,
        kept_step=worker.state.global_step if best is None else best,
        log=log,
        looks=looks,
        seconds=round(seconds, 1),
        earlier_seconds=clock.earlier,
        resumed_at_step=already.global_step,
        micro_batch_size=worker.runtime.rows(options.batch_size),
        memory=memory.figures(),
    )


@contextmanager
def _tracked(options: Alignment, name: str) -> Iterator[None]:
    """Let a tracker log under this name in the block."""
    before = set(os.environ)
    prepare_tracker(options, name)
    added = set(os.environ) - before
    try:
        yield
    finally:
        for name in added:  # else the next round would keep this one's folder
            os.environ.pop(name, None)


def _entries(history: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries of training and those of looks, the latter with their own names."""
    log = [entry for entry in history if "loss" in entry]
    looks = [
        {"step": entry["step"]} | {name.removeprefix(MARK): value for name, value in entry.items() if name.startswith(MARK)}
        for entry in history
        if any(name.startswith(MARK) for name in entry)
    ]
    return log, looks


def _best(looks: list[dict[str, Any]], score: str) -> int | None:
    """Return the step of the first look with the best score; None without any."""
    name = score.removeprefix(MARK)
    scored: list[Mapping[str, Any]] = [look for look in looks if name in look]
    return max(scored, key=lambda look: (look[name], -look["step"]))["step"] if scored else None
