"""The training run: TRL's trainer with the loss computed where labels are, and a log without anything of the machine.

The stock trainers build logits for every prompt token, which on a CPU costs more than the rest of the step; see
bench/step.py for the measured difference.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import provenance
from stages.chat import IGNORE
from stages.params import Runtime, Train
from stages.train import checkpoints

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState
    from trl import SFTConfig, SFTTrainer


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
) -> Run:
    """Train `model` in place, resuming from the newest checkpoint in `unfinished`."""
    from peft.helpers import disable_input_dtype_casting
    from transformers import TrainerState

    dtypes = {name: weight.dtype for name, weight in model.named_parameters()}
    worker = response_loss_trainer(options.precision)(
        model=model,
        args=arguments(options, runtime, seed, unfinished, bool(len(valid))),
        train_dataset=rows,
        eval_dataset=valid.select(range(min(options.eval_rows, len(valid)))) if len(valid) else None,
        processing_class=tokenizer,
    )
    for name, weight in model.named_parameters():  # TRL casts the adapter of a 4-bit base to bf16; adapt.attach chose fp32
        weight.data = weight.data.to(dtypes[name])
    checkpoint = checkpoints.newest(unfinished)
    already = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")) if checkpoint else TrainerState()
    memory = provenance.Memory(provenance.device(runtime))
    started = time.monotonic()
    with disable_input_dtype_casting(model):  # autocast casts what an adapter computes with; PEFT's own casts would come on top
        worker.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    cost = {
        "train_seconds": round(seconds, 1),
        "tokens_per_second": round((worker.state.num_input_tokens_seen - already.num_input_tokens_seen) / seconds, 1),
        "resumed_at_step": already.global_step,
        **memory.figures(),
    }
    return Run(_figures(worker.state), cost)


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
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        activation_checkpointing=options.gradient_checkpointing,
        logging_steps=options.logging_steps,
        eval_strategy="steps" if validate else "no",
        eval_steps=options.eval_steps,
        save_steps=options.save_steps,
        save_total_limit=2,  # a kill while one is written leaves the other
        include_num_input_tokens_seen="non_padding",
        dataset_kwargs={"skip_prepare_dataset": True},  # labels come from stages/chat.py
        dataloader_pin_memory=not on_cpu,
        report_to="none",
    )


def response_loss_trainer(precision: str) -> "type[SFTTrainer]":
    """Made on call, so that importing this module does not import torch."""
    import torch
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

    class ResponseLossTrainer(SFTTrainer):
        """Cross-entropy of supervised tokens, averaged over the global batch; logits only from the first such token on."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
            labels = inputs.pop("labels")
            first = int((labels != IGNORE).any(dim=0).int().argmax())
            tail = labels.shape[1] - first + 1  # the token before the first label predicts it
            with torch.autocast(labels.device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = model(**inputs, use_cache=False, logits_to_keep=tail).logits[:, :-1]
            wanted = labels[:, -(tail - 1) :]
            answered = wanted != IGNORE
            loss = torch.nn.functional.cross_entropy(logits[answered].float(), wanted[answered], reduction="sum")
            return loss / (answered.sum() if num_items_in_batch is None else num_items_in_batch)

        def _get_train_sampler(self, train_dataset=None):  # type: ignore[no-untyped-def]
            if self.args.train_sampling_strategy != "group_by_length":
                return super()._get_train_sampler(train_dataset)
            size = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return ByLength(train_dataset or self.train_dataset, size, self.args.seed)

    return ResponseLossTrainer
