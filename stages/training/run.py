"""Run the training: resume after a kill, and log nothing that depends on the machine."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase, TrainerState, TrainingArguments
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from stages import device
from stages.errors import DataError
from stages.figures.training import Loss, TrainingLoss
from stages.models.loading import LanguageModel
from stages.params import Fit, Runtime
from stages.text.chat import IGNORE
from stages.training import checkpoints, padding_free, processes
from stages.training.arguments import arguments, prepare_tracker
from stages.training.trainer import DecoderTrainer, EncoderDecoderTrainer, Penalty, callbacks, peft_type
from stages.training.watching import Clock, Divergence


@dataclass(frozen=True)
class Rows:
    """Tokenised rows: `train` to fit, `valid` to watch the loss."""

    train: Dataset
    valid: Dataset


@dataclass(frozen=True)
class Run:
    """A finished run: steps and losses, which repeat exactly on one machine, and its time and memory.

    `earlier_seconds` passed before a kill, up to the checkpoint that the run continued from; `train_seconds` holds them too.
    After a resume, memory is that of the last part. `memory` has the keys of figures.TrainingCost.
    """

    steps: int
    log: list[TrainingLoss]
    validation: list[Loss]
    train_seconds: float
    earlier_seconds: float
    tokens_per_second: float
    resumed_at_step: int
    memory: dict[str, float]


def train(
    lm: LanguageModel,
    rows: Rows,
    options: Fit,
    runtime: Runtime,
    *,
    seed: int,
    unfinished: Path,
    penalty: Penalty | None = None,
) -> Run:
    """Train the model in place, resuming from the newest checkpoint in `unfinished`; `penalty` is added to the loss."""
    prepare_tracker(options, unfinished.name)
    worker = trainer(lm, rows, options, arguments(options, runtime, seed, unfinished, bool(len(rows.valid))), penalty)
    with worker.accelerator.main_process_first():  # it removes damaged ones
        checkpoint = checkpoints.newest(unfinished)
    already = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")) if checkpoint else TrainerState()
    memory, clock = device.Memory(device.kind(runtime)), Clock(already)
    worker.add_callback(clock)
    worker.add_callback(Divergence(options.section))
    with own_casts(lm.model):
        if checkpoint and is_over(already):  # killed while its result was stored; train() would make one more step
            worker.state = already
            best = already.best_model_checkpoint if options.early_stopping_patience else None
            worker._load_from_checkpoint(best or checkpoint)
        else:
            worker.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    worker.accelerator.wait_for_everyone()  # the first process will remove the checkpoints, which others may still read
    seconds = clock.seconds()
    entries = worker.state.log_history  # transformers' own `train_loss` is wrong after a resume
    return Run(
        steps=worker.state.global_step,
        log=[
            TrainingLoss(step=entry["step"], loss=round(entry["loss"], 6), learning_rate=entry["learning_rate"])
            for entry in entries
            if "loss" in entry
        ],
        validation=[Loss(step=entry["step"], loss=round(entry["eval_loss"], 6)) for entry in entries if "eval_loss" in entry],
        train_seconds=round(seconds, 1),
        earlier_seconds=clock.earlier,
        tokens_per_second=round(worker.state.num_input_tokens_seen / seconds, 1),
        resumed_at_step=already.global_step,
        memory=memory.figures(),
    )


def trainer(
    lm: LanguageModel, rows: Rows, options: Fit, how: TrainingArguments, penalty: Penalty | None = None
) -> DecoderTrainer | EncoderDecoderTrainer:
    """Return what trains the model with the rows; raise DataError where the options do not fit model or rows."""
    model, tokenizer, valid = lm.model, lm.tokenizer, rows.valid
    if tokenizer.encoder_decoder and options.prompt_loss_weight:
        raise DataError("train.prompt_loss_weight: an encoder-decoder model does not predict its prompt; set it to 0")
    if tokenizer.encoder_decoder and options.neftune_noise_alpha:
        raise DataError("train.neftune_noise_alpha: the noise does not reach an encoder-decoder model; set it to null")
    if options.early_stopping_patience and not len(valid):
        raise DataError(f"{options.section}.early_stopping_patience: needs validation rows, and there are none; set it to null")
    dtypes = {name: weight.dtype for name, weight in model.named_parameters()}
    kind = EncoderDecoderTrainer if tokenizer.encoder_decoder else DecoderTrainer
    worker = kind(
        options,
        penalty,
        model=model,
        args=how,
        train_dataset=rows.train,
        eval_dataset=valid.select(range(min(options.eval_rows, len(valid)))) if len(valid) else None,
        processing_class=tokenizer,
        callbacks=callbacks(model, options),
        **_collator(model, tokenizer, options),
    )
    if peft_type(model) == "ADALORA":  # checkpoints lack its importance scores, so a killed run starts again
        worker.args.save_strategy = "no"
    if processes.count() > 1 and not worker.model_accepts_loss_kwargs:  # then each micro-batch would count alike
        raise DataError("runtime.processes: this model does not count the tokens of a whole batch; set processes=1")
    for name, weight in model.named_parameters():  # TRL casts the adapter of a 4-bit base to bf16; undo that
        weight.data = weight.data.to(dtypes[name])
    return worker


def own_casts(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Disable PEFT's casts of an adapter's inputs, since autocast makes them already. (IA³ has none.)"""
    return nullcontext() if peft_type(model) == "IA3" else disable_input_dtype_casting(model)


def steps(rows: int, options: Fit) -> int:
    """Return the optimizer steps of a run, counted as transformers does: an incomplete last batch is a step too."""
    return options.max_steps or ceil(options.num_train_epochs * max(1, ceil(rows / options.batch_size)))


def is_over(state: TrainerState) -> bool:
    """Return whether a checkpoint is the last of its run, planned or by early stopping."""
    control = state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
    return state.global_step >= state.max_steps or bool(control.get("should_training_stop"))


def _collator(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: Fit) -> dict[str, Any]:
    """Return a collator for encoder-decoder models, since TRL's own expects prompt and answer in one sequence; or one without
    padding where the model can be trained so. (Packed rows have it already.)"""
    if tokenizer.encoder_decoder:
        return {"data_collator": DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORE)}
    if padding_free.serves(model, options) and not options.packing:
        return {"data_collator": DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=True)}
    return {}
