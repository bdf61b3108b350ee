"""Translate options to TRL's arguments, and prepare the tracker that a run reports to."""

import os
from pathlib import Path

from transformers.integrations import integration_utils
from trl import SFTConfig

from stages import device
from stages.errors import DataError
from stages.params import Runtime, Train

# Batches of few widths: with hundreds of sizes of tensors, malloc searches its lists for up to a fifth of a run's time.
WIDTHS = 32  # tokens
TRACKERS = ("swanlab", "tensorboard")  # tested to write offline; the extra `trackers` installs them


def arguments(options: Train, runtime: Runtime, seed: int, unfinished: Path, validate: bool) -> SFTConfig:
    """Return TRL's arguments; checkpoints are written to `unfinished`."""
    on_cpu, rows = device.kind(runtime) == "cpu", runtime.rows(options.batch_size)
    return SFTConfig(
        output_dir=str(unfinished),
        seed=seed,
        use_cpu=on_cpu,
        bf16=False,  # compute_loss opens autocast itself; accelerate's would convert the logits, the largest tensor, to fp32
        per_device_train_batch_size=rows,
        per_device_eval_batch_size=rows,
        gradient_accumulation_steps=options.batch_size // rows,
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
        pad_to_multiple_of=WIDTHS if on_cpu and not options.packing else None,
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        activation_checkpointing=options.gradient_checkpointing,
        logging_steps=options.logging_steps,
        eval_strategy="steps" if validate else "no",
        eval_steps=options.eval_steps,
        save_steps=options.save_steps,
        save_total_limit=2,  # if a kill damages one, the other remains
        load_best_model_at_end=bool(options.early_stopping_patience),
        metric_for_best_model="loss" if options.early_stopping_patience else None,
        restore_callback_states_from_checkpoint=bool(options.early_stopping_patience),
        include_num_input_tokens_seen="non_padding",
        dataset_kwargs={"skip_prepare_dataset": True},  # labels come from stages/text/chat.py
        dataloader_pin_memory=not on_cpu,
        report_to=options.report_to,
    )


def prepare_tracker(name: str, run: str) -> None:
    """Raise DataError if transformers does not know the tracker or it is not installed; log locally to .tunetrail/logs."""
    if name == "none":
        return
    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    if name not in known:
        raise DataError(f"train.report_to = {name}: unknown; choose from none, {', '.join(known)}")
    if name not in integration_utils.get_available_reporting_integrations():
        package = "-e '.[trackers]'" if name in TRACKERS else name
        raise DataError(f"train.report_to = {name}: not installed; pip install {package}")
    logs = Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "logs" / name / run
    logs.mkdir(parents=True, exist_ok=True)
    own = {"TENSORBOARD_LOGGING_DIR": str(logs), "SWANLAB_LOG_DIR": str(logs), "SWANLAB_MODE": "local"}
    os.environ.update({key: value for key, value in own.items() if key not in os.environ})
