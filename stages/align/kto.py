"""Kahneman-Tversky optimization through TRL: good and bad answers, each judged alone.

Both sides of every training pair are judged answers, and so are the votes. The reference comes from the stored
log-probabilities. Only those of the mismatched answers, from which KTO estimates its KL term, are computed here.
"""

import random
from collections.abc import Sequence
from functools import partial

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from stages.align import looks, opening, rows, run, trainers, weights
from stages.align.job import Job
from stages.align.rows import Judged
from stages.align.run import Aligned
from stages.align.trainers import Aligning
from stages.errors import DataError
from stages.models.loading import LanguageModel
from stages.params import Kto, Runtime
from stages.preferences import reference
from stages.text import chat
from stages.training.arguments import shared

ADVISED = 1.15  # weighted good answers per bad one, in the middle of what is advised: 1 to 4/3


class Trainer(Aligning, KTOTrainer):
    """TRL's trainer, given rows that are prepared already."""


def align(job: Job) -> Aligned:
    """Return the model aligned by single answers, good and bad ones."""
    pairs, held_out = rows.split(rows.read_pairs(job.pairs))
    judged = rows.judged(pairs, rows.read_votes(job.pairs))
    _require_both(judged, job)
    _advise(judged, job.options)
    lm = opening.open_tuned(job)
    tuned, held_out = weights.trained(lm.model), looks.remeasured(lm, job.options.precision, held_out)
    look = partial(looks.at_answers, lm, tuned, job.valid, held_out, job.limit)
    worker = trainer(lm, judged, job)
    fitted = run.fit(worker, run.watch(look, job, held_out), job.unfinished)
    return Aligned(lm, fitted, len(judged), looks.right(lm, held_out, job.options.precision), held_out)


def trainer(lm: LanguageModel, judged: Sequence[Judged], job: Job) -> Trainer:
    """Return what trains the model on these answers."""
    options, order = job.options, list(judged)
    random.Random(job.seed).shuffle(order)  # TRL reads rows in their order; batches need both kinds
    data = _rows(lm, order, options)
    lengths = [len(row["prompt_ids"]) + max(len(row["completion_ids"]), len(row["KL_completion_ids"])) for row in data]
    runtime = opening.with_micro_batch(job.runtime, options, lm.model, lengths, job.unfinished)
    worker = Trainer(
        options,
        runtime,
        model=lm.model,
        args=arguments(options, runtime, job),
        train_dataset=data,
        processing_class=lm.tokenizer,
    )
    trainers.drop_reference(lm.model)
    return worker


def arguments(options: Kto, runtime: Runtime, job: Job) -> KTOConfig:
    return KTOConfig(
        **shared(options, runtime, job.seed, job.unfinished),
        beta=options.beta,
        desirable_weight=options.desirable_weight,
        undesirable_weight=options.undesirable_weight,
        precompute_ref_log_probs=True,  # they are in the rows
        max_length=None,
    )


def _rows(lm: LanguageModel, judged: Sequence[Judged], options: Kto) -> Dataset:
    """Return the rows in this order, each also with the answer of the row before it, whose KL to the reference TRL estimates.

    TRL itself exchanges answers within a forward pass. Then a last row that is alone would keep its own answer.
    """
    mixed = [each.answer._replace(prompt=row.answer.prompt) for each, row in zip([judged[-1], *judged], judged, strict=False)]
    with trainers.opened(lm.model, options.precision), looks.answering(lm.model):
        known = reference.likelihoods(lm, mixed)
    return Dataset.from_list(
        [
            {
                "prompt_ids": chat.prompt_ids(lm.tokenizer, row.answer.prompt),
                "completion_ids": reference.answer_ids(lm.tokenizer, row.answer),
                "KL_completion_ids": reference.answer_ids(lm.tokenizer, other),
                "label": row.good,
                "ref_logps": row.logprob,
                "ref_KL_logps": known[other].logprob,
            }
            for row, other in zip(judged, mixed, strict=True)
        ]
    )


def _require_both(judged: Sequence[Judged], job: Job) -> None:
    good = sum(each.good for each in judged)
    if not good or good == len(judged):
        raise DataError(
            f"{job.pairs}: {good} good and {len(judged) - good} bad answers to train on; align.method = kto needs both "
            "kinds; raise preference.prompts or preference.samples"
        )


def _advise(judged: Sequence[Judged], options: Kto) -> None:
    """Print a line if the weighted counts are outside the range of Ethayarajh et al. 2024, eq. (8)."""
    good = sum(each.good for each in judged)
    bad = len(judged) - good
    ratio = good * options.desirable_weight / max(bad * options.undesirable_weight, 1e-9)
    if options.desirable_weight and options.undesirable_weight and not 1 <= ratio <= 4 / 3:
        print(
            f"advice: {good} good and {bad} bad answers have the weighted ratio {ratio:.2f}; 1 to 1.33 is usually advised, "
            f"e.g. align.desirable_weight={ADVISED * bad * options.undesirable_weight / good:.2g}"
        )
