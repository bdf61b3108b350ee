"""Time one optimiser step: TRL's stock trainer against stages/train/trainer.py, with the same model, rows and machine.

    python bench/step.py [rounds]

Alternates the two trainers to cancel the machine's noise. Prints the median step of each and the median ratio of the rounds.
Run `dvc repro format` first: it makes the rows.
"""

import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from stages import params, provenance, records
from stages.models import loading, sources
from stages.models.manifest import read_manifest
from stages.records import Example
from stages.train import adapt, dataset, trainer
from stages.train.arguments import arguments

STEPS = 4


def seconds_per_step(stock: bool) -> float:
    """Return the median seconds of the steps after the first one."""
    from transformers import TrainerCallback
    from trl import SFTTrainer

    p, runtime = params.read("format.max_length", "quantization", "lora", "adapter", "train"), params.runtime()
    provenance.prepare(runtime)
    manifest = read_manifest()
    weights = sources.ensure(manifest)
    tokenizer = loading.load_tokenizer(weights)
    examples = [*records.read(Path("data/formatted/train.jsonl"), Example)][: (STEPS + 1) * p.train.batch_size]
    rows = dataset.tokenised(examples, tokenizer, p.format.max_length)
    base = loading.load_base(
        weights, provenance.device(runtime), p.quantization, p.train.precision, attention=p.train.attn_implementation
    )
    model = adapt.attach(base, p.adapter, p.lora, seed=0)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        options = arguments(p.train, runtime, 0, Path(folder), validate=False)
        options.save_strategy = "no"
        options.train_sampling_strategy = "sequential"
        options.bf16 = stock and p.train.precision == "bf16"
        given = {"model": model, "args": options, "train_dataset": rows, "processing_class": tokenizer, "callbacks": [Clock()]}
        (SFTTrainer(**given) if stock else trainer.DecoderTrainer(p.train, None, **given)).train()
    return statistics.median(after - before for before, after in pairwise(times))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    pairs = [(seconds_per_step(stock=True), seconds_per_step(stock=False)) for _ in range(rounds)]
    for name, column in (("stock SFTTrainer", 0), ("ours", 1)):
        print(f"{name:18} {statistics.median(pair[column] for pair in pairs):6.2f} s per step")
    print(f"{'ratio':18} {statistics.median(a / b for a, b in pairs):6.2f}")


if __name__ == "__main__":
    main()
