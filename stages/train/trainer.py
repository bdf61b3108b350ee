"""The training run: TRL's trainer with the loss computed where labels are, and a log without anything of the machine.

The stock trainers build logits for every prompt token, which on a CPU costs more than the rest of the step; see
bench/step.py for the measured difference.
"""

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import provenance
from stages.chat import IGNORE
from stages.params import Runtime, Train
from stages.records import DataError
from stages.train import checkpoints

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainerState
    from trl import SFTConfig

Penalty = Callable[[], "Tensor"]
TRAINED = "trained.safetensors"  # in a checkpoint: the weights that are trained, whatever kind of adapter they belong to
TRACKERS = ("swanlab", "tensorboard")  # shown to write offline; the extra of this name installs them


@dataclass
class Run:
    """`figures` repeat exactly on one machine; `cost` is what this run took on this machine."""

    figures: dict[str, Any]
    cost: dict[str, Any]


def train(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: "Dataset",
    valid: "Dataset",
    options: Train,
    runtime: Runtime,
    seed: int,
    unfinished: Path,
    penalty: Penalty | None = None,
) -> Run:
    """Train `model` in place, resuming from the newest checkpoint in `unfinished`; `penalty` is added to the loss."""
    from peft.helpers import disable_input_dtype_casting
    from transformers import TrainerState

    if tokenizer.encoder_decoder and options.prompt_loss_weight:
        raise DataError("train.prompt_loss_weight: an encoder-decoder model does not write its prompt; set it to 0")
    if tokenizer.encoder_decoder and options.neftune_noise_alpha:
        raise DataError("train.neftune_noise_alpha: the noise does not reach an encoder-decoder model; set it to null")
    if options.early_stopping_patience and not len(valid):
        raise DataError("train.early_stopping_patience: there are no validation rows to watch; set it to null")
    _prepare_tracker(options.report_to, unfinished.name)
    dtypes = {name: weight.dtype for name, weight in model.named_parameters()}
    worker = response_loss_trainer(options, tokenizer.encoder_decoder, penalty)(
        model=model,
        args=arguments(options, runtime, seed, unfinished, bool(len(valid))),
        train_dataset=rows,
        eval_dataset=valid.select(range(min(options.eval_rows, len(valid)))) if len(valid) else None,
        processing_class=tokenizer,
        callbacks=_callbacks(model, options),
        **_collator(tokenizer),
    )
    if _peft_type(model) == "ADALORA":  # its importance scores are in no checkpoint, so that a killed run starts anew
        worker.args.save_strategy = "no"
    for name, weight in model.named_parameters():  # TRL casts the adapter of a 4-bit base to bf16; adapt.attach chose fp32
        weight.data = weight.data.to(dtypes[name])
    checkpoint = checkpoints.newest(unfinished)
    already = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")) if checkpoint else TrainerState()
    memory = provenance.Memory(provenance.device(runtime))
    started = time.monotonic()
    # Autocast casts what an adapter computes with; PEFT's own casts would come on top. (IA³ has none to switch off.)
    with nullcontext() if _peft_type(model) == "IA3" else disable_input_dtype_casting(model):
        if checkpoint and _is_over(already):  # killed while its result was stored: going on would make one more step
            worker.state = already
            best = already.best_model_checkpoint if options.early_stopping_patience else None
            worker._load_from_checkpoint(best or checkpoint)
        else:
            worker.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    cost = {
        "train_seconds": round(seconds, 1),
        "tokens_per_second": round((worker.state.num_input_tokens_seen - already.num_input_tokens_seen) / seconds, 1),
        "resumed_at_step": already.global_step,
        **memory.figures(),
    }
    return Run(_figures(worker.state), cost)


def steps(rows: int, options: Train, runtime: Runtime) -> int:
    """Optimiser steps of a run over so many rows, counted as transformers does: what is left over makes a step of its own."""
    micro = ceil(rows / runtime.micro_batch_size)
    epoch = max(1, ceil(micro / (options.batch_size // runtime.micro_batch_size)))
    return options.max_steps or ceil(options.num_train_epochs * epoch)


def _is_over(state: "TrainerState") -> bool:
    """Whether a checkpoint is the last of its run, planned or by early stopping."""
    control = state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
    return state.global_step >= state.max_steps or bool(control.get("should_training_stop"))


def _peft_type(model: "PreTrainedModel") -> str | None:
    return model.active_peft_config.peft_type.value if hasattr(model, "peft_config") else None


def _in_front(model: "PreTrainedModel") -> int:
    """How many trained embeddings PEFT puts before a decoder's input (a prefix lies in the cache instead)."""
    is_prompt = _peft_type(model) in ("PROMPT_TUNING", "P_TUNING") and not model.config.is_encoder_decoder
    return model.active_peft_config.num_virtual_tokens if is_prompt else 0


def _callbacks(model: "PreTrainedModel", options: Train) -> "list[TrainerCallback]":
    from transformers import EarlyStoppingCallback, TrainerCallback

    class MoveRanks(TrainerCallback):
        """AdaLoRA's allocation, which must see the gradients of each step before they are cleared."""

        def on_optimizer_step(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            model.base_model.update_and_allocate(state.global_step + 1)

    stop = options.early_stopping_patience
    return [*([EarlyStoppingCallback(stop)] if stop else []), *([MoveRanks()] if _peft_type(model) == "ADALORA" else [])]


def _collator(tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """TRL's own collator expects prompt and answer in one sequence."""
    if not tokenizer.encoder_decoder:
        return {}
    from transformers import DataCollatorForSeq2Seq

    return {"data_collator": DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORE)}


def _prepare_tracker(name: str, run: str) -> None:
    """Refuse a tracker that transformers does not know or that is not installed; keep local logs in .tunetrail/logs."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

    if name == "none":
        return
    if name not in INTEGRATION_TO_CALLBACK:
        raise DataError(
            f"train.report_to = {name}: unknown; transformers knows none, {', '.join(sorted(INTEGRATION_TO_CALLBACK))}"
        )
    if name not in get_available_reporting_integrations():
        package = "-e '.[trackers]'" if name in TRACKERS else name
        raise DataError(f"train.report_to = {name}: not installed; pip install {package}")
    logs = Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "logs" / name / run
    logs.mkdir(parents=True, exist_ok=True)
    own = {"TENSORBOARD_LOGGING_DIR": str(logs), "SWANLAB_LOG_DIR": str(logs), "SWANLAB_MODE": "local"}
    os.environ.update({key: value for key, value in own.items() if key not in os.environ})


def _figures(state: "TrainerState") -> dict[str, Any]:
    """Steps and losses from the step log (transformers' own `train_loss` is wrong after a resume)."""
    log = [
        {"step": entry["step"], "loss": round(entry["loss"], 6), "learning_rate": entry["learning_rate"]}
        for entry in state.log_history
        if "loss" in entry
    ]
    validation = [
        {"step": entry["step"], "loss": round(entry["eval_loss"], 6)} for entry in state.log_history if "eval_loss" in entry
    ]
    return {"steps": state.global_step, "log": log, "validation": validation}


def arguments(options: Train, runtime: Runtime, seed: int, unfinished: Path, validate: bool) -> "SFTConfig":
    from trl import SFTConfig

    on_cpu = provenance.device(runtime) == "cpu"
    return SFTConfig(
        output_dir=str(unfinished),
        seed=seed,
        use_cpu=on_cpu,
        bf16=False,  # compute_loss opens autocast itself: accelerate's would turn the logits, the largest tensor, into fp32
        per_device_train_batch_size=runtime.micro_batch_size,
        per_device_eval_batch_size=runtime.micro_batch_size,
        gradient_accumulation_steps=options.batch_size // runtime.micro_batch_size,
        learning_rate=options.learning_rate,
        num_train_epochs=options.num_train_epochs,
        max_steps=options.max_steps or -1,
        warmup_steps=options.warmup_steps,
        lr_scheduler_type=options.lr_scheduler_type,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        optim=options.optim,
        neftune_noise_alpha=options.neftune_noise_alpha,
        packing=options.packing,
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        activation_checkpointing=options.gradient_checkpointing,
        logging_steps=options.logging_steps,
        eval_strategy="steps" if validate else "no",
        eval_steps=options.eval_steps,
        save_steps=options.save_steps,
        save_total_limit=2,  # a kill while one is written leaves the other
        load_best_model_at_end=bool(options.early_stopping_patience),
        metric_for_best_model="loss" if options.early_stopping_patience else None,
        restore_callback_states_from_checkpoint=bool(options.early_stopping_patience),
        include_num_input_tokens_seen="non_padding",
        dataset_kwargs={"skip_prepare_dataset": True},  # labels come from stages/chat.py
        dataloader_pin_memory=not on_cpu,
        report_to=options.report_to,
    )


def response_loss_trainer(options: Train, encoder_decoder: bool = False, penalty: Penalty | None = None) -> "type[Trainer]":
    """Made on call, so that importing this module does not import torch."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import Trainer
    from transformers.trainer_pt_utils import LengthGroupedSampler
    from trl import SFTTrainer

    class ByLength(LengthGroupedSampler):
        """Rows of like length together, shuffled by seed and epoch alone: a run resumed in a later epoch goes on alike."""

        def __init__(self, rows: Any, batch_size: int, seed: int) -> None:
            super().__init__(batch_size, lengths=[len(ids) for ids in rows["input_ids"]], generator=torch.Generator())
            self.seed = seed
            self.set_epoch(0)

        def set_epoch(self, epoch: int) -> None:
            self.generator.manual_seed(self.seed + epoch)

    def summed(logits: "Tensor", wanted: "Tensor") -> "Tensor":
        known = wanted != IGNORE
        return torch.nn.functional.cross_entropy(logits[known].float(), wanted[known], reduction="sum")

    def prompt_labels(inputs: dict[str, "Tensor"], labels: "Tensor") -> "Tensor":
        """The tokens that are not supervised, without padding and without the first of a packed row."""
        real = inputs["position_ids"] != 0 if "position_ids" in inputs else inputs["attention_mask"].bool()
        return torch.where((labels == IGNORE) & real, inputs["input_ids"], IGNORE)

    class ResponseLossTrainer(Trainer if encoder_decoder else SFTTrainer):  # type: ignore[misc]
        """Cross-entropy of supervised tokens, averaged over the global batch; logits only from the first such token on.

        With `prompt_loss_weight` w the sum over prompt tokens, times w, joins the sum over answer tokens; both are divided
        by the number of answer tokens, so that w does not change what an answer token counts.
        """

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
            labels = inputs.pop("labels")
            weight = options.prompt_loss_weight if model.training else 0.0
            first = 1 if weight else max(1, int((labels != IGNORE).any(dim=0).int().argmax()))
            with torch.autocast(labels.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                if encoder_decoder:
                    decoder_ids = model.prepare_decoder_input_ids_from_labels(labels)
                    logits, wanted = model(**inputs, decoder_input_ids=decoder_ids, use_cache=False).logits, labels
                else:
                    # The token before each label predicts it.
                    start = _in_front(model) + first - 1
                    predicting = torch.arange(start, start + labels.shape[1] - first, device=labels.device)
                    logits = model(**inputs, use_cache=False, logits_to_keep=predicting).logits
                    wanted = labels[:, first:]
            loss = summed(logits, wanted)
            if weight:
                loss = loss + weight * summed(logits, prompt_labels(inputs, labels)[:, first:])
            loss = loss / ((wanted != IGNORE).sum() if num_items_in_batch is None else num_items_in_batch)
            if penalty and model.training:  # once an update, however many micro-batches it is split into
                loss = loss + penalty() / (1 if num_items_in_batch is None else self.current_gradient_accumulation_steps)
            return (loss, {}) if return_outputs else loss

        def _get_train_sampler(self, train_dataset=None):  # type: ignore[no-untyped-def]
            if self.args.train_sampling_strategy != "group_by_length":
                return super()._get_train_sampler(train_dataset)
            size = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return ByLength(train_dataset or self.train_dataset, size, self.args.seed)

        def _save(self, output_dir=None, state_dict=None):  # type: ignore[no-untyped-def]
            """The trained weights as they are: PEFT would store what it needs to predict, which is less for some adapters."""
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

    return ResponseLossTrainer
