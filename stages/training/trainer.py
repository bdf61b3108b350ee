"""TRL's trainer, with logits computed only for labels.

The stock trainers compute logits for every prompt token. On a CPU that costs more than the rest of the step. kernels.py
shortens that rest; bench/step.py measures both.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTTrainer

from stages.device import strictly_deterministic
from stages.models.precision import autocast
from stages.params import Fit
from stages.text.chat import IGNORE
from stages.training import kernels, padding_free, sharing
from stages.training.scaling import Scaled

Penalty = Callable[[], Tensor]
TRAINED = "trained.safetensors"  # in a checkpoint: the trained weights of any kind of adapter


class TrainedWeights:
    """Checkpoints with the trained weights of any kind of adapter, as they are."""

    args: Any
    state: Any
    model: Any
    accelerator: Any

    def _save(self, output_dir=None, state_dict=None):  # type: ignore[no-untyped-def]
        """Store all trained weights; for some adapters PEFT would store only what prediction needs."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        save_file({name: weight.detach().contiguous() for name, weight in trained.items()}, folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):  # type: ignore[no-untyped-def]
        stored = load_file(Path(resume_from_checkpoint) / TRAINED)
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                weight.data.copy_(stored[name])

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save_rng_state(self, output_dir):  # type: ignore[no-untyped-def]
        """Wait for all processes, so that trainer_state.json, which is written next, completes the checkpoint."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()


class ResponseLoss(TrainedWeights, Scaled):
    """Cross-entropy of supervised tokens, averaged over the global batch; no other token gets logits.

    With `prompt_loss_weight` w, w times the sum over prompt tokens is added to the sum over answer tokens. Both are divided
    by the number of answer tokens, so that w does not change the weight of an answer token. `penalty` is added once per
    update.
    """

    train_dataset: Any
    current_gradient_accumulation_steps: int
    logits: Callable[..., Tensor]  # (model, inputs, labels, wanted): one row per wanted label

    def __init__(self, options: Fit, penalty: Penalty | None, **trainer: Any) -> None:
        self.options, self.penalty = options, penalty
        super().__init__(**trainer)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
        labels = inputs.pop("labels")
        weight = self.options.prompt_loss_weight if model.training else 0.0
        prompts = _prompt_labels(inputs, labels) if weight else None
        wanted = labels != IGNORE if prompts is None else (labels != IGNORE) | (prompts != IGNORE)
        if not self.model.config.is_encoder_decoder:
            wanted[:, 0] = False  # no token is before it
        with autocast(labels.device.type, self.options.precision):
            loss, of_prompts = self.sums(model, inputs, labels, prompts, wanted)
        if prompts is not None:
            loss = loss + weight * of_prompts
        if self.args.world_size > 1:
            if not model.training:
                num_items_in_batch = None  # each process returns the mean of its own rows, and all are gathered
            elif num_items_in_batch is not None:
                loss = loss * self.args.world_size  # it counts the tokens of all processes, whose gradients are averaged
        loss = loss / ((labels[wanted] != IGNORE).sum() if num_items_in_batch is None else num_items_in_batch)
        if self.penalty and model.training:  # once per update, however many micro-batches it has
            loss = loss + self.penalty() / (1 if num_items_in_batch is None else self.current_gradient_accumulation_steps)
        return (loss, {}) if return_outputs else loss

    def sums(self, model, inputs, labels, prompts, wanted):  # type: ignore[no-untyped-def]
        """Return the summed cross-entropy of answers, and that of prompts or None; `wanted` marks the tokens of both."""
        logits = self.logits(model, inputs, labels, wanted).float()
        return _summed(logits, labels[wanted]), None if prompts is None else _summed(logits, prompts[wanted])

    def _get_train_sampler(self, train_dataset=None):  # type: ignore[no-untyped-def]
        processes, rows = self.args.world_size, train_dataset or self.train_dataset
        together = self.args.train_batch_size * processes
        if self.args.train_sampling_strategy == "group_by_length":
            rows = rows.rows if isinstance(rows, sharing.Rows) else rows
            sampler = ByLength(rows, together * self.args.gradient_accumulation_steps, self.args.seed)
        elif processes > 1:
            sampler = SeedableRandomSampler(rows)  # as accelerate replaces it for one process
        else:
            return super()._get_train_sampler(train_dataset)
        return sharing.Evened(sampler, together) if processes > 1 else sampler

    def _get_eval_sampler(self, eval_dataset):  # type: ignore[no-untyped-def]
        sampler = super()._get_eval_sampler(eval_dataset)
        if self.args.world_size == 1:
            return sampler
        sampler = SequentialSampler(eval_dataset) if sampler is None else sampler
        return sharing.Evened(sampler, self.args.eval_batch_size * self.args.world_size)

    def _get_dataloader(self, dataset, *args, **how):  # type: ignore[no-untyped-def]
        if self.args.world_size == 1:
            return super()._get_dataloader(dataset, *args, **how)
        return sharing.let_epochs_through(super()._get_dataloader(sharing.Rows(dataset), *args, **how))


class DecoderTrainer(ResponseLoss, SFTTrainer):
    """A decoder reads prompt and answer as one sequence."""

    def train(self, *args, **how):  # type: ignore[no-untyped-def]
        joined = padding_free.serves(self.model, self.options)
        strict = strictly_deterministic() if joined else nullcontext()
        with strict, kernels.fused(self.model, self.options.precision, joined=joined):
            return super().train(*args, **how)

    def sums(self, model, inputs, labels, prompts, wanted):  # type: ignore[no-untyped-def]
        """On a GPU, compute them by TRL's function, which never holds the logits of more than a part of the vocabulary."""
        if self.args.use_cpu:
            return super().sums(model, inputs, labels, prompts, wanted)
        answers, all_labels = (
            labels[:, 1:] != IGNORE,
            labels if prompts is None else torch.where(labels == IGNORE, prompts, labels),
        )
        losses = -model(**inputs, labels=all_labels, fused_lm_head=True).log_probs
        losses = losses[:, -answers.shape[1] :]  # after a trained prompt
        return losses[answers].sum(), losses[~answers].sum()

    def logits(self, model, inputs, labels, wanted):  # type: ignore[no-untyped-def]
        """Return logits (wanted labels, vocabulary)."""
        return before(wanted, model, self.model.get_output_embeddings(), _in_front(self.model), **inputs)


def before(wanted: Tensor, model: Callable[..., Any], head: torch.nn.Module, in_front: int = 0, **inputs: Any) -> Tensor:
    """Return a decoder's logits (wanted tokens, vocabulary): the head reads only the token before each of them."""
    first = max(1, int(wanted.any(dim=0).int().argmax()))
    start = in_front + first - 1
    predicting = torch.arange(start, start + wanted.shape[1] - first, device=wanted.device)

    def before_wanted(_, states):  # type: ignore[no-untyped-def]
        return (states[0][wanted[:, first:]][None],)

    with head.register_forward_pre_hook(before_wanted, prepend=True):
        logits: Tensor = model(**inputs, use_cache=False, logits_to_keep=predicting).logits[0]
    return logits


class EncoderDecoderTrainer(ResponseLoss, Trainer):
    """An encoder reads the prompt, a decoder writes the answer; TRL's own trainer expects both in one sequence."""

    def logits(self, model, inputs, labels, wanted):  # type: ignore[no-untyped-def]
        """Return logits (wanted labels, vocabulary)."""
        decoder_ids = self.model.prepare_decoder_input_ids_from_labels(labels)
        return model(**inputs, decoder_input_ids=decoder_ids, use_cache=False).logits[wanted]


class ByLength(LengthGroupedSampler):
    """Group rows of similar length, shuffled by seed and epoch only, so that a run resumed in a later epoch is the same."""

    def __init__(self, rows: Any, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=[len(ids) for ids in rows["input_ids"]], generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + epoch)


class MoveRanks(TrainerCallback):
    """Run AdaLoRA's allocation, which needs the gradients of each step before they are cleared."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def on_optimizer_step(self, args, state, control, **_):  # type: ignore[no-untyped-def]
        self.model.base_model.update_and_allocate(state.global_step + 1)


def callbacks(model: PreTrainedModel, options: Fit) -> list[TrainerCallback]:
    stop = options.early_stopping_patience
    return [
        *([EarlyStoppingCallback(stop)] if stop else []),
        *([MoveRanks(model)] if peft_type(model) == "ADALORA" else []),
    ]


def peft_type(model: PreTrainedModel) -> str | None:
    return model.active_peft_config.peft_type.value if hasattr(model, "peft_config") else None


def _in_front(model: PreTrainedModel) -> int:
    """Return how many trained embeddings PEFT puts before a decoder's input (a prefix is in the cache instead)."""
    is_prompt = peft_type(model) in ("PROMPT_TUNING", "P_TUNING")
    return model.active_peft_config.num_virtual_tokens if is_prompt else 0


def _summed(logits: Tensor, wanted: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum", ignore_index=IGNORE)


def _prompt_labels(inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Return the unsupervised tokens as labels, without padding and without the first token of each packed row."""
    real = inputs["position_ids"] != 0 if "position_ids" in inputs else inputs["attention_mask"].bool()
    return torch.where((labels == IGNORE) & real, inputs["input_ids"], IGNORE)
