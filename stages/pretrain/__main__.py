"""pretrain: fit one seed's adapter to whole documents, for `train` to continue from; a killed run continues too."""

import sys
import time
from pathlib import Path

from stages import figures, files, params, stage
from stages.models import stored
from stages.models.manifest import read_manifest

FIGURES, COST = Path("data/pretraining"), Path("data/cost")


def main() -> None:
    seed, started = int(sys.argv[1]), time.monotonic()
    p = params.read("format.max_length", "quantization", "lora", "adapter", "pretrain")
    folder, written = stored.pretrained_of(seed), (FIGURES / f"{seed}.json", COST / f"pretrain_{seed}.json")
    if p.pretrain.type == "none":
        with files.whole_folder(folder):
            pass
        for path in written:
            files.write_json(path, {})
        return

    from stages.training import checkpoints, opening, processes
    from stages.training.fit import fit

    runtime = params.runtime()
    if runtime.processes > 1 and not processes.launched():
        from stages.training import launch

        launch.start("stages.pretrain", runtime)
        return
    opened = opening.open_pretraining(p, p.pretrain, runtime, read_manifest(), seed)
    with checkpoints.kept(checkpoints.folder(seed, p, opened.runtime, opened.inputs)) as unfinished:
        for path, result in zip(written, fit(opened, unfinished, folder, started), strict=True):
            figures.write(path, result)


if __name__ == "__main__":
    stage.run(main)
