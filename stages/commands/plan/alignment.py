"""Try what the stage align does: a few steps of its trainer, and the parts of a look at validation rows and held-out pairs."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, Literal

from stages import device, records
from stages.align import dpo, grpo, kto, looks, opening, reward, rows, trainers, weights
from stages.align.job import Job
from stages.align.rows import Judged
from stages.commands.plan import after, measures
from stages.commands.plan.machine import Probe
from stages.errors import DataError
from stages.models.loading import LanguageModel
from stages.models.manifest import read_manifest
from stages.params import Alignment, Answering, Params, Runtime
from stages.preferences import sampling
from stages.preferences.records import Pair
from stages.preferences.reference import Answer
from stages.records import Example
from stages.text import chat


@dataclass(frozen=True)
class Learned:
    """The steps of a run with the seconds of each, and those of what is neither a step nor opening the model."""

    worker: Any
    steps: int
    step: float
    other: float


@dataclass
class Trial:
    """An alignment to try; `room` are the bytes that opening, a look, or samples are expected to need."""

    p: Params
    job: Job
    lm: LanguageModel
    memory: device.Memory
    room: int = 0

    def need(self, further: int) -> None:
        self.room = max(self.room, self.memory.peak() + further)

    def begin_steps(self) -> None:
        """Measure the memory of what follows, the steps, on its own: that of looks does not grow with their rows."""
        self.need(0)
        measures.forget_peak()
        self.memory = device.Memory(device.kind(self.job.runtime))


def alignment(p: Params, micro_batch_size: int | Literal["auto"]) -> Probe:
    """Train a fresh adapter by the method's own trainer, with the longest batch, then with a few of other lengths.

    The pairs are those of the stage pairs; before it ran, the references of training rows are both sides of each pair.
    Answers are expected to be as long as the references.
    """
    runtime = p.runtime.model_copy(update={"micro_batch_size": micro_batch_size})
    libraries, memory = measures.resident(), device.Memory(device.kind(runtime))
    with tempfile.TemporaryDirectory() as folder:
        making = measures.seconds(lambda: after.store_adapter(p, runtime, Path(folder) / "adapter"))
        job = _job(p, runtime, Path(folder))
        lm = reward.open_scorer(job) if p.align.method == "reward" else opening.open_tuned(job)
        opened = measures.since_start() - making
        trial = Trial(p, job, lm, memory)
        learned = _on_samples(trial) if p.align.method == "grpo" else _on_pairs(trial)
    trained = [weight for weight in lm.model.parameters() if weight.requires_grad]
    probe = Probe(
        parameters=read_manifest().parameters,
        trained=sum(weight.numel() for weight in trained),
        libraries=libraries,
        weights=sum(weight.nbytes for weight in lm.model.parameters() if not weight.requires_grad),
        training=sum(2 * weight.nbytes for weight in trained) + measures.held(learned.worker.optimizer),
        peak=trial.memory.peak(),
        rows=learned.worker.runtime.rows(job.options.batch_size),
        seconds=opened + learned.steps * learned.step + learned.other,
        units=learned.steps,
        unit_seconds=learned.step,
    )
    return replace(probe, looks=max(0, trial.room - probe.fixed))


def _job(p: Params, runtime: Runtime, folder: Path) -> Job:
    """Return what the stage reads, with a fresh adapter; trainers write to `folder` and report to nobody."""
    assert isinstance(p.align, Alignment)
    valid = list(records.read(after.FORMATTED / "valid.jsonl", Example))
    return Job(
        options=p.align.model_copy(update={"report_to": "none"}),
        quantization=p.quantization,
        runtime=runtime,
        manifest=read_manifest(),
        seed=p.seeds[0],
        adapter=folder / "adapter",
        pairs=after.PAIRS / str(p.seeds[0]),
        settings=p.preference,
        train=after.FORMATTED / "train.jsonl",
        valid=looks.validation(valid, p.align.eval_rows) if isinstance(p.align, Answering) else [],
        limit=p.align.max_completion_length if p.align.method == "grpo" else p.preference.sampling.max_new_tokens,
        unfinished=folder,
    )


def _on_pairs(trial: Trial) -> Learned:
    """Measure dpo, kto or reward. Each round of dpo after the first also samples and scores, and looks again."""
    job, lm, options, method = trial.job, trial.lm, trial.job.options, trial.p.align.method
    expected = after.expected(trial.p, job.seed)
    pairs, held_out = rows.split(expected.pairs)
    judged = rows.judged(pairs, expected.votes) if method == "kto" else []
    lengths = [after.length(lm, each.answer) for each in judged] or [_longest(lm, pair) for pair in pairs]
    if not lengths:
        raise DataError("align: no pair to train on; raise preference.prompts or lower preference.held_out")
    order = measures.parts(Random(job.seed).sample(range(len(lengths)), len(lengths)), options.batch_size)
    batches = measures.batches(order, lengths, options, job.runtime)
    steps = options.max_steps or ceil(options.num_train_epochs * len(order))
    rounds = options.rounds if method == "dpo" else 1
    if method == "reward":
        tried = held_out[:8]
        look = measures.seconds(lambda: tried and reward.at_pairs(lm, tried)) / max(1, len(tried)) * len(held_out)
        other = look  # after training
    else:
        scoring = _scoring(trial, expected.pairs)
        look = _look(trial) + scoring * 2 * len(held_out)
        other = scoring * (4 * len(held_out) + len(judged))  # before and after training; kto: the mismatched answers
        if rounds > 1:
            other += (rounds - 1) * (_sampled(trial, expected.prompts) + scoring * 2 * len(expected.pairs))
    chosen = [row for batch in batches.tried for row in batch]
    trial.begin_steps()
    worker, clock = _fitted(_trainer(trial, chosen, pairs, judged, len(batches.tried)))
    return Learned(worker, rounds * steps, batches.mean_step(clock), other + rounds * _looks(steps, options) * look)


def _longest(lm: LanguageModel, pair: Pair) -> int:
    return max(after.length(lm, answer) for answer in after.of_pairs([pair]))


def _trainer(trial: Trial, chosen: Sequence[int], pairs: Sequence[Pair], judged: Sequence[Judged], steps: int) -> Any:
    """Return the method's trainer on the chosen pairs or answers."""
    job, lm = trial.job, trial.lm
    options = job.options.model_copy(update={"max_steps": steps})
    match trial.p.align.method:
        case "dpo":
            return dpo.trainer(lm, [pairs[row] for row in chosen], options, job.runtime, job.seed, job.unfinished)
        case "reward":
            return reward.trainer(lm, [pairs[row] for row in chosen], options, job.runtime, job.seed, job.unfinished)
        case _:
            shuffled = list(range(len(chosen)))
            Random(job.seed).shuffle(shuffled)  # as kto.trainer does, so that its order is that of `chosen`
            given = dict(zip(shuffled, chosen, strict=True))
            short = Job(**{**vars(job), "options": options})
            return kto.trainer(lm, [judged[given[place]] for place in range(len(chosen))], short)


def _on_samples(trial: Trial) -> Learned:
    """Measure grpo: a step with the longest prompts and answers, then a few with answers as long as the references."""
    job, lm, options = trial.job, trial.lm, trial.job.options
    examples, _ = sampling.drawn(list(records.read(job.train, Example)), options.prompts, job.seed)
    if not examples:
        raise DataError(f"{job.train}: no row has a prompt to sample for align.method = grpo; add rows with plain answers")
    look = _look(trial)
    trial.begin_steps()
    groups = options.batch_size // options.num_generations
    ordered = sorted(examples, key=lambda example: len(chat.prompt_ids(lm.tokenizer, example.prompt)))

    def tried(prompts: Sequence[Example], **changes: int) -> tuple[Any, measures.Clock]:
        changed = options.model_copy(update=changes)
        worker = grpo.trainer(lm, prompts, changed, job.runtime, job.seed, job.unfinished)
        worker.generation_config.min_new_tokens = changed.max_completion_length  # else answers may stop earlier
        fitted = _fitted(worker)
        trainers.release(lm.model)
        return fitted

    tried(ordered[-groups:], max_steps=1)
    answers = [len(chat.answer_ids(lm.tokenizer, example.messages)) for example in examples]
    lengths = [min(options.max_completion_length, max(batch)) for batch in measures.parts(answers, groups)]
    some = examples[: groups * (1 + measures.STEPS)]
    worker, clock = tried(some, max_steps=1 + measures.STEPS, max_completion_length=ceil(sum(lengths) / len(lengths)))
    steps = grpo.steps(len(examples), options)
    return Learned(worker, steps, sum(clock.timed) / len(clock.timed), _looks(steps, options) * look)


def _fitted(worker: Any) -> tuple[Any, measures.Clock]:
    """Train without checkpoints, in the order of the rows."""
    clock = measures.Clock()
    worker.args.save_strategy, worker.args.train_sampling_strategy = "no", "sequential"
    worker.add_callback(clock)
    worker.train()
    return worker, clock


def _looks(steps: int, options: Alignment) -> int:
    """Return how often a run looks: before the first step, every eval_steps, and after the last."""
    return 1 + ceil(steps / options.eval_steps)


def _scoring(trial: Trial, pairs: Sequence[Pair]) -> float:
    """Return the seconds of scoring an answer of a pair."""
    with _answering(trial):
        return after.scored(trial.lm, after.of_pairs(pairs))


def _look(trial: Trial) -> float:
    """Return the seconds of a look at validation rows: of their answers, and of comparing the model with the tuned one."""
    if not trial.job.valid:
        return 0.0
    with _answering(trial):
        answers = after.answered(trial.lm, trial.job.valid, looks.ROWS, trial.job.limit)
        trial.need(answers.further)
        return answers.seconds + _divergence(trial.lm, trial.job.valid)


@contextmanager
def _answering(trial: Trial) -> Iterator[None]:
    """Let the model answer as it does in looks."""
    with trainers.opened(trial.lm.model, trial.job.options.precision), looks.answering(trial.lm.model):
        yield


def _divergence(lm: LanguageModel, examples: Sequence[Example]) -> float:
    """Return the seconds to compare the model with the tuned one on the answers to all of these rows."""
    answers = [Answer(example.prompt, example.reference, True) for example in examples]
    ordered, tuned = sorted(answers, key=lambda answer: after.length(lm, answer)), weights.trained(lm.model)
    looks.divergence(lm, tuned, ordered[-looks.KL_ROWS :])  # takes the most memory, and the first use costs extra
    tried = measures.middle(ordered, looks.KL_ROWS)
    return measures.seconds(lambda: looks.divergence(lm, tuned, tried)) / len(tried) * len(answers)


def _sampled(trial: Trial, prompts: Sequence[Example]) -> float:
    """Return the seconds of the samples of a later round."""
    with _answering(trial):
        found = after.sampled(trial.lm, prompts, trial.p.preference, trial.job.seed)
    trial.need(found.further)
    return found.seconds
