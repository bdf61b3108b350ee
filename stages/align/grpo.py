"""Group relative policy optimization: the model samples, rewards judge, and the better answers of a group become likelier.

TRL's trainer computes advantages and the loss. Here it reads prompts as every other stage renders them, and its answers are
decoded as those of every other stage, drawn from the seed and the step alone. Its reference is a frozen copy of train's
adapter, so the KL is that to the tuned model, not to the base.
"""

import random
from collections.abc import Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import GenerationConfig, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from stages import records
from stages.align import looks, opening, quantized, rewards, run, weights
from stages.align.job import Job
from stages.align.merged import merged
from stages.align.rewards import Judge
from stages.align.run import Aligned
from stages.align.trainers import Aligning
from stages.errors import DataError
from stages.generation import decoding
from stages.generation.sampling import chooser
from stages.models import reward_model
from stages.models.loading import LanguageModel
from stages.params import Grpo, Runtime, Sampling
from stages.preferences import sampling
from stages.records import Example, content_hash
from stages.text import chat
from stages.training.arguments import shared


class Trainer(Aligning, GRPOTrainer):
    """TRL's trainer with prompts as token ids, and with samples that a resumed run repeats."""

    def __init__(
        self, options: Grpo, runtime: Runtime, lm: LanguageModel, prompts: dict[str, list[int]], **trainer: Any
    ) -> None:
        self.lm, self.prompts = lm, prompts
        self.sampling = Sampling(
            temperature=options.temperature,
            top_p=options.top_p,
            presence_penalty=0.0,
            max_new_tokens=options.max_completion_length,
        )
        super().__init__(options, runtime, model=lm.model, **trainer)

    def _tokenize_prompts(self, prompts):  # type: ignore[no-untyped-def]
        """Return the ids of stages/text/chat.py: TRL would add a start token, and read control tokens in messages as such."""
        return [self.prompts[text] for text in prompts], None, {}

    def _generate_single_turn(self, prompt_ids, *_):  # type: ignore[no-untyped-def]
        """Return the tokens of a step's answers; transformers' loop would compute each row until the longest one ends."""
        seed = int(content_hash(["answers", self.args.seed, self.state.global_step])[:8], 16)
        choose = chooser(self.sampling, seed, len(prompt_ids))
        with merged(self.model), looks.answering(self.model):
            return decoding.tokens(self.lm, prompt_ids, self.sampling.max_new_tokens, choose), None


def align(job: Job) -> Aligned:
    """Return the model aligned by the rewards of its own samples; no pairs are read."""
    options = job.options
    examples, _ = sampling.drawn(list(records.read(job.train, Example)), options.prompts, job.seed)
    if not examples:
        raise DataError(f"{job.train}: no row has a prompt to sample for align.method = grpo; add rows with plain answers")
    lm = opening.open_tuned(job)
    judge = _judge(job, lm) if options.rewards.reward_model else None
    worker = trainer(lm, examples, options, job.runtime, job.seed, job.unfinished, judge)
    look = partial(looks.at_answers, lm, weights.trained(lm.model), job.valid, [], job.limit)
    return Aligned(lm, run.fit(worker, run.watch(look, job), job.unfinished), len(examples))


def trainer(
    lm: LanguageModel,
    examples: Sequence[Example],
    options: Grpo,
    runtime: Runtime,
    seed: int,
    unfinished: Path,
    judge: Judge | None = None,
) -> Trainer:
    """Return what trains the model on answers to these prompts; `judge` scores answers by a reward model."""
    prompts = {_text(lm.tokenizer, e): chat.prompt_ids(lm.tokenizer, e.prompt) for e in examples}
    longest = max(map(len, prompts.values()))
    _require_room(lm.tokenizer, longest, options.max_completion_length)
    runtime = opening.with_micro_batch(runtime, options, lm.model, [longest + options.max_completion_length], unfinished)
    lm.model.get_base_model().generation_config = GenerationConfig(
        eos_token_id=lm.stop_ids
    )  # TRL counts answers without one of these as clipped
    return Trainer(
        options,
        runtime,
        lm,
        prompts,
        reward_funcs=rewards.functions(
            examples, options.rewards, lambda ids: decoding.answer(lm.tokenizer, ids, lm.stop_ids), judge
        ),
        args=arguments(options, runtime, len(examples), seed, unfinished),
        train_dataset=_rows(lm.tokenizer, examples, options, seed),
        processing_class=lm.tokenizer,
    )


def arguments(options: Grpo, runtime: Runtime, prompts: int, seed: int, unfinished: Path) -> GRPOConfig:
    """Return TRL's arguments; a step samples `batch_size` answers and learns from them once."""
    return GRPOConfig(
        **shared(options, runtime, seed, unfinished) | {"max_steps": steps(prompts, options)},
        beta=options.beta,
        loss_type=options.loss_type,
        num_generations=options.num_generations,
        temperature=options.temperature,
        top_p=options.top_p,
        max_completion_length=options.max_completion_length,
        reward_weights=list(rewards.wanted(options.rewards).values()),
        disable_dropout=True,  # else the KL would not begin at 0
        shuffle_dataset=False,  # `_rows` are in their order; TRL's would differ after a resume in a later pass
    )


def steps(prompts: int, options: Grpo) -> int:
    """Return the optimizer steps of a run; an incomplete last batch is filled with prompts of the next pass."""
    return options.max_steps or ceil(options.num_train_epochs * prompts * options.num_generations / options.batch_size)


def _rows(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], options: Grpo, seed: int) -> Dataset:
    """Return the prompts of all steps in their order: pass after pass, each shuffled by the seed."""
    wanted = steps(len(examples), options) * options.batch_size // options.num_generations
    generator = random.Random(seed)
    order: list[Example] = []
    while len(order) < wanted:
        order += generator.sample(examples, len(examples))
    return Dataset.from_list([{"prompt": _text(tokenizer, e), "example": e.id} for e in order[:wanted]])


def _text(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    return chat.render(tokenizer, example.prompt, answer_next=True)


def _require_room(tokenizer: PreTrainedTokenizerBase, longest: int, limit: int) -> None:
    """Raise DataError if a prompt leaves no room for `limit` tokens."""
    if tokenizer.positions and longest + limit > tokenizer.positions:
        raise DataError(
            f"align.max_completion_length = {limit}: the longest prompt has {longest} tokens, and the model reads "
            f"{tokenizer.positions} (max_position_embeddings), prompt and answer together; lower it"
        )


def _judge(job: Job, lm: LanguageModel) -> Judge:
    """Return what scores answers by the kept reward model, whose base is opened as in its own training."""
    folder = Path(job.options.reward_model)
    scorer = reward_model.open_reward_model(folder, job.runtime, quantized.read(folder), job.manifest)
    ids = partial(chat.prompt_ids, lm.tokenizer)

    def judge(examples: Sequence[Example], answers: Sequence[list[int]]) -> list[float]:
        rows = [ids(example.prompt) + answer for example, answer in zip(examples, answers, strict=True)]
        return reward_model.scores(scorer, rows)

    return judge
