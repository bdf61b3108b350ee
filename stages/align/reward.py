"""A reward model through TRL: the tuned model with a head that learns which of two answers is better.

It continues from train's adapter, as in Ouyang et al. 2022 (arXiv:2203.02155). It writes nothing: align=grpo reads its scores.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import Dataset
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import RewardConfig, RewardTrainer

from stages.align import looks, opening, quantized, rows, run
from stages.align.job import Job
from stages.align.run import BEST, Aligned
from stages.align.trainers import Aligning
from stages.errors import DataError
from stages.models import reward_model
from stages.models.loading import LanguageModel, load_base, open_model
from stages.models.stored import adapter_config
from stages.models.tokenizer import load_tokenizer
from stages.params import RewardModel, Runtime
from stages.preferences import reference
from stages.preferences.records import Pair
from stages.text import chat
from stages.training.arguments import shared

HEAD = f"base_model.model.{reward_model.HEAD}.weight"  # as PEFT stores it


class Trainer(Aligning, RewardTrainer):
    """TRL's trainer, given rows that are prepared already."""


def align(job: Job) -> Aligned:
    """Return a reward model trained on the pairs of the stage pairs; held-out pairs measure it."""
    pairs, held_out = rows.split(rows.read_pairs(job.pairs))
    if not pairs or not held_out:
        raise DataError(
            f"{job.pairs}: {len(pairs)} pairs to train on and {len(held_out)} held out, which measure the reward model; raise "
            "preference.prompts, or set preference.held_out to 0.1"
        )
    lm, options = open_scorer(job), job.options
    worker = trainer(lm, pairs, options, job.runtime, job.seed, job.unfinished)
    look = partial(at_pairs, lm, held_out)
    watch = looks.Watch(look, "pair_accuracy", options.eval_steps, options.early_stopping_patience, job.unfinished / BEST)
    fitted = run.fit(worker, watch, job.unfinished)
    card = reward_model.card(job.manifest, lm.model.config, lm.tokenizer)
    lm.model.get_base_model().set_attn_implementation("sdpa")  # as open_reward_model loads it: the same bits as after reload
    gaps = margins(lm, held_out)
    stored = [look | (numbers(gaps) if look["step"] == fitted.kept_step else {}) for look in fitted.looks]
    further = reward_model.stored_card(card) | quantized.stored(job.quantization)
    return Aligned(lm, replace(fitted, looks=stored), len(pairs), looks.preferred(gaps), held_out, further=further)


def open_scorer(job: Job) -> LanguageModel:
    """Return the tuned model with a new head, ready to train; raise DataError if it cannot have one."""

    def load(folder: Path, device: str) -> PreTrainedModel:
        opening.check_adapter(job)
        base = load_base(folder, device, job.quantization, job.options.precision, job.options.attn_implementation)
        opening.refuse_encoder_decoder(base, job)
        model = with_tuned_adapter(reward_model.with_head(base, load_tokenizer(folder), job.seed), job.adapter)
        opening.in_fp32(model)
        return model

    return open_model(job.runtime, load, job.manifest)


def with_tuned_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Return the model with train's adapter and its own head, both trainable; raise DataError if they do not fit."""
    adapter_config(folder)
    config = PeftConfig.from_pretrained(str(folder))
    config.task_type, config.modules_to_save, config.inference_mode = "SEQ_CLS", [reward_model.HEAD], False
    config.base_model_name_or_path = model.name_or_path  # else PEFT warns
    scorer = get_peft_model(model, config)
    scorer.peft_config["default"].modules_to_save = [reward_model.HEAD]  # PEFT adds other names of heads
    try:
        head = get_peft_model_state_dict(scorer, save_embedding_layers=False)[HEAD]  # PEFT wants it among the stored weights
        found = set_peft_model_state_dict(scorer, load_file(folder / "adapter_model.safetensors") | {HEAD: head})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: its adapter does not fit this base ({' '.join(str(error).split())[:200]})") from None
    if found.unexpected_keys:
        raise DataError(f"{folder}: holds weights that a reward model lacks, e.g. {found.unexpected_keys[0]}; use adapter=lora")
    return scorer


def trainer(
    lm: LanguageModel, pairs: Sequence[Pair], options: RewardModel, runtime: Runtime, seed: int, unfinished: Path
) -> Trainer:
    """Return what trains the reward model on these pairs."""
    data = _rows(pairs, lm.tokenizer)
    lengths = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in data]
    runtime = opening.with_micro_batch(runtime, options, lm.model, lengths, unfinished)
    pad = reward_model.padding(lm.tokenizer)
    return Trainer(
        options,
        runtime,
        model=lm.model,
        args=RewardConfig(
            **shared(options, runtime, seed, unfinished),
            center_rewards_coefficient=options.center_rewards_coefficient or None,
            pad_token=lm.tokenizer.convert_ids_to_tokens(pad),
            disable_dropout=True,
            max_length=None,
        ),
        train_dataset=data,
        processing_class=copy.deepcopy(
            lm.tokenizer
        ),  # TRL gives it the padding, and transformers reads it there when it trains
    )


def at_pairs(lm: LanguageModel, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the numbers of a look."""
    return numbers(margins(lm, pairs))


def numbers(gaps: Sequence[float]) -> dict[str, float]:
    """Return the share of pairs whose chosen answer gets the higher reward, equal ones half, and by how much on average."""
    right = looks.preferred(gaps)
    return {"pair_accuracy": round(sum(right) / len(right), 6), "margin": round(sum(gaps) / len(gaps), 6)}


def margins(lm: LanguageModel, pairs: Sequence[Pair]) -> list[float]:
    """Return the reward of the chosen answer less that of the rejected one, of each pair."""
    given = _rows(pairs, lm.tokenizer)
    found = reward_model.scores(lm, [*given["chosen_ids"], *given["rejected_ids"]])
    return [chosen - rejected for chosen, rejected in zip(found[: len(pairs)], found[len(pairs) :], strict=True)]


def _rows(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Return each pair as two sequences, prompt and answer, in the columns of TRL."""
    found = []
    for pair in pairs:
        prompt = chat.prompt_ids(tokenizer, pair.prompt)
        found.append(
            {
                "chosen_ids": prompt + reference.answer_ids(tokenizer, reference.chosen(pair)),
                "rejected_ids": prompt + reference.answer_ids(tokenizer, reference.rejected(pair)),
            }
        )
    return Dataset.from_list(found)
