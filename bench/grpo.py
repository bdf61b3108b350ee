"""Sample answers for a step of GRPO with TRL's loop and with this project's: python bench/grpo.py [16 64]

Needs the outputs of `train` and of `format`, and parameters with align=grpo.

    dvc repro && tunetrail compose experiment=complaints_grpo data=complaints 'seeds=[42]' predict.split=valid

The model is in training, its weights are merged, and both get the same prompts, alternating, three times. Prints seconds,
tokens and the medians. Restore params.yaml afterwards.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from trl import GRPOTrainer

from stages import params, records
from stages.align import grpo, job, opening
from stages.align.merged import merged
from stages.preferences import sampling
from stages.records import Example

ROUNDS = 3


def main() -> None:
    p, runtime = params.read("seeds", "quantization", "align"), params.runtime()
    given = job.read(p, runtime, p.seeds[0])
    examples, _ = sampling.drawn(list(records.read(given.train, Example)), given.options.prompts, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        worker = grpo.trainer(opening.open_tuned(given), examples, given.options, runtime, given.seed, Path(folder))
        groups = given.options.num_generations
        prompts = [worker.prompts[row["prompt"]] for row in worker.train_dataset for _ in range(groups)]
        for count in map(int, sys.argv[1:] or ("16", "64")):
            seconds: dict[str, list[float]] = {"TRL": [], "ours": []}
            for number in range(ROUNDS):
                batch = prompts[number * count : (number + 1) * count]
                for name, taken in seconds.items():
                    started = time.monotonic()
                    if name == "TRL":
                        with merged(worker.model):
                            answers, _ = GRPOTrainer._generate_single_turn(worker, batch, None, {}, groups)
                    else:
                        answers, _ = worker._generate_single_turn(batch, None, {}, groups)
                    taken.append(time.monotonic() - started)
                    print(f"{count} answers, {name}: {taken[-1]:.1f} s, {sum(map(len, answers))} tokens", flush=True)
            print(f"{count} answers, medians: " + ", ".join(f"{n} {statistics.median(s):.1f} s" for n, s in seconds.items()))


if __name__ == "__main__":
    main()
