"""Translate options to TRL's arguments, and prepare the tracker that a run reports to."""

import os
from pathlib import Path
from typing import Any

from transformers.integrations import integration_utils
from trl import SFTConfig

from stages import device
from stages.errors import DataError
from stages.params import Alignment, Fit, Optimization, Runtime
from stages.training import processes

# Batches of few widths: with hundreds of sizes of tensors, malloc searches its lists for up to a fifth of a run's time.
WIDTHS = 32  # tokens
TRACKERS = ("swanlab", "tensorboard")  # tested to write offline; the extra `trackers` installs them


def arguments(options: Fit, runtime: Runtime, seed: int, unfinished: Path, validate: bool) -> SFTConfig:
    """Return TRL's arguments for supervised training; checkpoints are written to `unfinished`."""
    return SFTConfig(
        **shared(options, runtime, seed, unfinished) | ({"pad_to_multiple_of": None} if options.packing else {}),
        neftune_noise_alpha=options.neftune_noise_alpha,
        packing=options.packing,
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        eval_strategy="steps" if validate else "no",
        eval_steps=options.eval_steps,
        load_best_model_at_end=bool(options.early_stopping_patience),
        metric_for_best_model="loss" if options.early_stopping_patience else None,
        restore_callback_states_from_checkpoint=bool(options.early_stopping_patience),
        include_num_input_tokens_seen="non_padding",
        dataset_kwargs={"skip_prepare_dataset": True},  # labels come from stages/text/chat.py
    )


def shared(options: Optimization, runtime: Runtime, seed: int, unfinished: Path) -> dict[str, Any]:
    """Return the arguments that all of TRL's trainers take."""
    on_cpu, share = device.kind(runtime) == "cpu", options.batch_size // processes.count()
    rows = runtime.rows(share)
    return {
        "output_dir": str(unfinished),
        "seed": seed,
        "use_cpu": on_cpu,
        "bf16": False,  # the trainers here open autocast; accelerate's would convert the logits, the largest tensor, to fp32
        "per_device_train_batch_size": rows,
        "per_device_eval_batch_size": rows,
        "gradient_accumulation_steps": share // rows,
        "learning_rate": options.learning_rate,
        "num_train_epochs": options.num_train_epochs,
        "max_steps": options.max_steps or -1,
        "warmup_steps": options.warmup_steps,
        "lr_scheduler_type": options.lr_scheduler_type,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "optim": options.optim,
        "pad_to_multiple_of": WIDTHS if on_cpu else None,
        "activation_checkpointing": options.gradient_checkpointing,
        "logging_steps": options.logging_steps,
        "logging_nan_inf_filter": False,  # the run ends there (watching.py)
        "save_steps": options.save_steps,
        "save_total_limit": 2,  # if a kill damages one, the other remains
        "dataloader_pin_memory": not on_cpu,
        "report_to": options.report_to,
    }


def prepare_tracker(options: Fit | Alignment, run: str) -> None:
    """Raise DataError if transformers does not know the tracker or it is not installed; log locally to .tunetrail/logs."""
    name, key = options.report_to, f"{options.section}.report_to"
    if name == "none":
        return
    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    if name not in known:
        raise DataError(f"{key} = {name}: unknown; choose from none, {', '.join(known)}")
    if name not in integration_utils.get_available_reporting_integrations():
        package = "-e '.[trackers]'" if name in TRACKERS else name
        raise DataError(f"{key} = {name}: not installed; pip install {package}")
    logs = Path(os.environ.get("DVC_ROOT", ".")) / ".tunetrail" / "logs" / name / run
    logs.mkdir(parents=True, exist_ok=True)
    own = {"TENSORBOARD_LOGGING_DIR": str(logs), "SWANLAB_LOG_DIR": str(logs), "SWANLAB_MODE": "local"}
    os.environ.update({key: value for key, value in own.items() if key not in os.environ})
