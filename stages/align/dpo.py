"""Direct preference optimization through TRL, with the reference from the stored log-probabilities: no second model."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from trl import DPOConfig, DPOTrainer

from stages.align import looks, opening, rounds, rows, run, trainers, weights
from stages.align.job import Job
from stages.align.run import Aligned, Fitted
from stages.align.trainers import Aligning
from stages.errors import DataError
from stages.models.loading import LanguageModel
from stages.params import Dpo, Runtime
from stages.preferences.records import Pair
from stages.training.arguments import shared


class Trainer(Aligning, DPOTrainer):
    """TRL's trainer, given rows that are prepared already."""


def align(job: Job) -> Aligned:
    """Return the model aligned by the pairs of the stage pairs, and in later rounds by pairs of its own new samples."""
    pairs, held_out = rows.split(rows.read_pairs(job.pairs))
    if not pairs:
        raise DataError(
            f"{job.pairs}: no pair to train on, {len(held_out)} held out; raise preference.prompts, or set align=kto to learn "
            "from single votes"
        )
    lm = opening.open_tuned(job)
    tuned, held_out = weights.trained(lm.model), looks.remeasured(lm, job.options.precision, held_out)
    look = partial(looks.at_answers, lm, tuned, job.valid, held_out, job.limit)

    def fit(pairs: Sequence[Pair], unfinished: Path) -> Fitted:
        worker = trainer(lm, pairs, job.options, job.runtime, job.seed, unfinished)
        name = f"{job.unfinished.name}-{unfinished.name}"  # rounds of other runs have the same names
        return run.fit(worker, run.watch(look, job, held_out, unfinished), unfinished, name)

    finished = rounds.run(job, lm, tuned, pairs, fit)
    right = looks.right(lm, held_out, job.options.precision)
    return Aligned(lm, finished.fitted, finished.pairs, right, held_out, finished.rounds)


def trainer(lm: LanguageModel, pairs: Sequence[Pair], options: Dpo, runtime: Runtime, seed: int, unfinished: Path) -> Trainer:
    """Return what trains the model on these pairs."""
    data = rows.of_pairs(pairs, lm.tokenizer)
    lengths = [2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in data]
    runtime = opening.with_micro_batch(runtime, options, lm.model, lengths, unfinished)
    worker = Trainer(
        options,
        runtime,
        model=lm.model,
        args=DPOConfig(
            **shared(options, runtime, seed, unfinished),
            beta=options.beta,
            loss_type=options.loss_type,
            loss_weights=options.loss_weights,
            precompute_ref_log_probs=True,  # they are in the rows
            max_length=None,
        ),
        train_dataset=data,
        processing_class=lm.tokenizer,
    )
    trainers.drop_reference(lm.model)
    return worker
