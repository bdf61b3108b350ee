"""train: fit one seed's adapter to formatted rows; a killed run continues from its last checkpoint."""

import sys
import time
from pathlib import Path

from stages import figures, params, stage
from stages.models import stored
from stages.models.manifest import read_manifest

FIGURES, COST = Path("data/training"), Path("data/cost")


def main() -> None:
    from stages.training import checkpoints, opening, processes
    from stages.training.fit import fit

    seed, started, runtime = int(sys.argv[1]), time.monotonic(), params.runtime()
    p = params.read("format.max_length", "replay.ewc_lambda", "quantization", "lora", "adapter", "train")
    if runtime.processes > 1 and not processes.launched():
        from stages.training import launch

        launch.start("stages.train", runtime)
        return
    start = stored.start_of(p.train.start, seed)
    opened = opening.open_training(p, runtime, read_manifest(), seed, start)
    with checkpoints.kept(checkpoints.folder(seed, p, opened.runtime, opened.inputs)) as unfinished:
        training, cost = fit(opened, unfinished, stored.adapter_of(seed), started)
        figures.write(FIGURES / f"{seed}.json", training)
        figures.write(COST / f"train_{seed}.json", cost)


if __name__ == "__main__":
    stage.run(main)
