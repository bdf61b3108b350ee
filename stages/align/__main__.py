"""align: improve one seed's tuned model by pairs, votes or rewards; a killed run continues from its last checkpoint."""

import sys
import time
from pathlib import Path

from stages import figures, files, locks, params, stage

MODELS, FIGURES, ROUNDS, COST = map(Path, ("models", "data/alignment", "data/rounds", "data/cost"))


def main() -> None:
    seed, started = int(sys.argv[1]), time.monotonic()
    p, runtime = params.read("quantization", "align"), params.runtime()
    out, rounds = MODELS / str(seed) / "aligned", ROUNDS / str(seed)
    if p.align.method == "none":
        for folder in (out, rounds):
            with files.whole_folder(folder):
                pass
        for path in (FIGURES / f"{seed}.json", COST / f"align_{seed}.json"):
            files.write_json(path, {})
        return
    from stages import provenance
    from stages.align import checkpoint, job, methods, results
    from stages.training import adapt

    given = job.read(p, runtime, seed)
    with locks.exclusive(given.unfinished):  # an experiment elsewhere with the same parameters would write the same checkpoints
        aligned = methods.align(given)
        saved = adapt.save(aligned.lm, out, given.manifest, aligned.further)
        checkpoint.store_rounds(given.unfinished, len(aligned.rounds), rounds)
        found = results.alignment(p.align.method, aligned, saved["trainable_parameters"])
        figures.write(FIGURES / f"{seed}.json", found)
        seconds = aligned.fitted.earlier_seconds + time.monotonic() - started
        cost = results.cost(aligned.fitted, seconds, provenance.machine(runtime))
        figures.write(COST / f"align_{seed}.json", cost)
        print(f"seed {seed}: {results.summary(found)}, {cost.seconds} s")
        if warning := results.warning(found):
            print(warning, file=sys.stderr)
        checkpoint.clear(given.unfinished, p.align)


if __name__ == "__main__":
    stage.run(main)
