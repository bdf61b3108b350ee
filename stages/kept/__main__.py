"""predict_kept: let an adapter that `tunetrail keep` or `combine` stored answer the chosen split.

It has a room of its own, so that a change here does not run the predictions of all other systems again.
"""

import sys
import time
from pathlib import Path

from stages import figures, files, params, records, stage
from stages.kept.names import ADAPTERS, kept
from stages.records import Example
from stages.text.prompts import shots_by_dataset

FORMATTED, PREDICTIONS, COST = map(Path, ("data/formatted", "data/predictions", "data/cost"))


def main() -> None:
    name, started = sys.argv[1], time.monotonic()
    from stages import device, provenance
    from stages.models.tuned import open_tuned
    from stages.predict import answers

    p = params.read(
        "predict.split", "predict.batch_size", "predict.max_new_tokens", "predict.constrain", "predict.likelihood_rows"
    )
    runtime, (system,) = params.runtime(), kept([name])
    examples = list(records.read(FORMATTED / f"{p.predict.split}.jsonl", Example))
    memory = device.Memory(device.kind(runtime))
    predictions = answers.predict(
        open_tuned(runtime, ADAPTERS / name),
        examples,
        shots_by_dataset("", examples),
        system,
        batch_size=p.predict.batch_size,
        max_new_tokens=p.predict.max_new_tokens,
        likelihood_rows=p.predict.likelihood_rows,
        schemas={} if p.predict.constrain == "none" else files.read_json(FORMATTED / "schemas.json"),
        copied=p.predict.constrain == "copied",
    )
    records.write(PREDICTIONS / f"{system}.jsonl", predictions)
    seconds, peak = time.monotonic() - started, memory.figures()["memory_peak_gib"]
    cost = answers.cost(predictions, seconds, peak, provenance.machine(runtime))
    figures.write(COST / f"predict_{system}.json", cost)
    print(f"{system}: {cost.rows} answers in {cost.seconds} s, {cost.new_tokens_per_second} tokens/s")


if __name__ == "__main__":
    stage.run(main)
