"""train: fit one seed's adapter to formatted rows or whole documents; a killed run continues from its last checkpoint."""

import sys
import time
from pathlib import Path

from stages import figures, locks, params, stage
from stages.models.manifest import read_manifest

FIGURES, COST = Path("data/training"), Path("data/cost")


def main() -> None:
    from stages import provenance
    from stages.train import adapt, checkpoints, dataset, opening, run

    seed, started = int(sys.argv[1]), time.monotonic()
    p = params.read("format.max_length", "replay.ewc_lambda", "quantization", "lora", "adapter", "train")
    manifest = read_manifest()
    opened = opening.open_training(p, params.runtime(), manifest, seed)
    runtime = opened.runtime
    start = Path(p.train.start_from) if p.train.start_from else None
    stored = [path for path in sorted(start.iterdir()) if path.is_file()] if start else []
    unfinished = checkpoints.folder(seed, p, runtime, [*opening.INPUTS, *stored])
    with locks.exclusive(unfinished):  # an experiment elsewhere with the same parameters would write the same checkpoints
        result = run.train(opened.lm, opened.rows, p.train, runtime, seed=seed, unfinished=unfinished, penalty=opened.penalty)
        saved = adapt.save(opened.lm, Path("models", str(seed), "adapter"), manifest)
        training = figures.Training(
            model_bytes=manifest.weight_bytes,
            **saved,
            **dataset.figures(opened.rows.train),
            steps=result.steps,
            log=result.log,
            validation=result.validation,
        )
        figures.write(FIGURES / f"{seed}.json", training)
        seconds = round(time.monotonic() - started, 1)
        cost = figures.TrainingCost(
            seconds=seconds,
            train_seconds=result.train_seconds,
            tokens_per_second=result.tokens_per_second,
            resumed_at_step=result.resumed_at_step,
            micro_batch_size=runtime.rows(p.train.batch_size),
            **result.memory,
            machine=provenance.machine(runtime),
        )
        figures.write(COST / f"train_{seed}.json", cost)
        print(f"{saved['trainable_parameters']:,} of {saved['total_parameters']:,} parameters in {seconds} s")
        checkpoints.clear(unfinished)


if __name__ == "__main__":
    stage.run(main)
