"""Time one optimizer step: this trainer against the stock trainers, with the same model, rows and machine.

    python bench/step.py [rounds] [--steps 6] [--trainers ours pages plain sft trainer]

Trainers: `ours`; `pages`, ours with memory in the usual pages; `plain`, ours without stages/training/kernels.py; `sft`, TRL's
SFTTrainer without checkpointing; `trainer`, transformers' Trainer after peft.prepare_model_for_kbit_training. Each runs in a
process of its own, one after the other in every round, so that the machine's noise affects all of them. Prints medians of the
seconds per step after the first one, the median ratio of the rounds to the first trainer, the largest difference of a step's
loss in round 1, and the peak memory.
Run `dvc repro format` first: it makes the rows.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import stages  # noqa: F401  # before any library: it switches their telemetry off

TRAINERS = ("ours", "pages", "plain", "sft", "trainer")


def run(name: str, steps: int) -> dict[str, Any]:
    """Return the seconds of each step after the first one, all losses and the peak memory in GiB of this process."""
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
    from trl import SFTTrainer

    from stages import device, params, records
    from stages.models import loading, sources
    from stages.models.manifest import read_manifest
    from stages.records import Example
    from stages.text.chat import IGNORE
    from stages.training import adapt, dataset, kernels, trainer
    from stages.training.arguments import arguments

    p, runtime = params.read("format.max_length", "quantization", "lora", "adapter", "train"), params.runtime()
    if name in ("pages", "sft", "trainer"):
        device.HEAP = 0
    device.prepare(runtime)
    weights = sources.ensure(read_manifest())
    tokenizer = loading.load_tokenizer(weights)
    examples = [*records.read(Path("data/formatted/train.jsonl"), Example)][: steps * p.train.batch_size]
    rows = dataset.tokenised(examples, tokenizer, p.format.max_length)
    base = loading.load_base(
        weights, device.kind(runtime), p.quantization, p.train.precision, attention=p.train.attn_implementation
    )
    if name == "trainer":
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    model = adapt.attach(base, p.adapter, p.lora, seed=0)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    stock = name in ("sft", "trainer")
    if name == "plain":
        kernels.fused = lambda *_, **__: nullcontext(set())
    with tempfile.TemporaryDirectory() as folder:
        options = arguments(p.train, runtime, 0, Path(folder), validate=False)
        options.save_strategy, options.logging_steps = "no", 1
        options.train_sampling_strategy = "sequential"
        options.bf16 = stock and device.computed(device.kind(runtime), p.train.precision) == "bf16"
        options.pad_to_multiple_of = None if stock else options.pad_to_multiple_of
        given = {"model": model, "train_dataset": rows, "processing_class": tokenizer, "callbacks": [Clock()]}
        if name == "trainer":
            known = {key: value for key, value in options.to_dict().items() if key in TrainingArguments.__dataclass_fields__}
            collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORE)
            worker: Trainer = Trainer(**given, args=TrainingArguments(**known), data_collator=collator)
        else:
            worker = (
                SFTTrainer(**given, args=options) if stock else trainer.DecoderTrainer(p.train, None, **given, args=options)
            )
        torch.manual_seed(0)
        worker.train()
    return {
        "seconds": [after - before for before, after in pairwise(times)],
        "losses": [entry["loss"] for entry in worker.state.log_history if "loss" in entry],
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=TRAINERS)
    parser.add_argument("--one", choices=TRAINERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(run(asked.one, asked.steps)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.trainers}
    for _ in range(asked.rounds):
        for name in asked.trainers:
            command = [sys.executable, __file__, "--one", name, "--steps", str(asked.steps)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    first = asked.trainers[0]
    medians = {name: [statistics.median(one["seconds"]) for one in runs] for name, runs in found.items()}
    print(f"{'trainer':10}{'s per step':>12}{'ratio':>8}{'largest loss difference':>26}{'GiB':>7}")
    for name, runs in found.items():
        ratio = statistics.median(a / b for a, b in zip(medians[name], medians[first], strict=True))
        off = max(abs(a - b) for a, b in zip(runs[0]["losses"], found[first][0]["losses"], strict=True))
        memory = statistics.median(one["gib"] for one in runs)
        print(f"{name:10}{statistics.median(medians[name]):12.2f}{ratio:8.2f}{off:26.4f}{memory:7.2f}")


if __name__ == "__main__":
    main()
