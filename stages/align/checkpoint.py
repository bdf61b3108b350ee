"""Where an unfinished alignment is kept, and what of it stays when it has finished."""

import shutil
from pathlib import Path

from stages import files
from stages.params import Align, Params, Runtime
from stages.training import checkpoints

ROOMS = (*checkpoints.ROOMS, "align", "preferences", "generation", "evaluate")  # whose code decides the result
SAMPLES, PAIRS = "samples.jsonl", "pairs.jsonl"  # of a round of dpo after the first


def folder(seed: int, p: Params, runtime: Runtime, folders: list[Path], paths: list[Path]) -> Path:
    """Return the folder under .tunetrail for these parameters and the content of the inputs.

    Its key leaves out the number of rounds, so that a further one continues from those that are kept.
    """
    held = [path for place in folders for path in sorted(place.rglob("*")) if path.is_file()]
    if p.align.method == "dpo":
        p = p.model_copy(update={"align": p.align.model_copy(update={"rounds": 1})})
    return checkpoints.folder(seed, p, runtime, [*paths, *held], ROOMS)


def store_rounds(unfinished: Path, rounds: int, out: Path) -> None:
    """Write the samples and pairs of all rounds to `out`, a folder for each; the first round learns from data/pairs instead."""
    with files.whole_folder(out) as part:
        for number in range(2, rounds + 1):
            place = f"round-{number}"
            (part / place).mkdir()
            for name in (SAMPLES, PAIRS):
                shutil.copyfile(unfinished / place / name, part / place / name)


def clear(unfinished: Path, options: Align) -> None:
    """Remove the checkpoints of a finished run, but keep the rounds of a run that has several, or had."""
    if options.method != "dpo" or (options.rounds == 1 and not (unfinished / "round-2").is_dir()):
        checkpoints.clear(unfinished)
