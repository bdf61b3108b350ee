"""Tune an adapter on each of three data sets. Combine them, put their answers to a vote, and tune one on all three.

    tunetrail compose synthesis=none data.rows.train=900 data.rows.valid=640 data.rows.test=520 && dvc repro format
    python bench/monthly.py rows
    python bench/together.py run [--seed 42] [-S key=value ...]
    python bench/together.py show [--seed 42] [--figure FILE.svg]

Use a clone: it keeps adapters in adapters/, and the last run stays in the workspace. The data sets are the first three months
of bench/monthly.py, each with layouts of its own; the rows of the fourth are tested too, and no adapter was trained on such.
The adapter of all three data sets has as many updates as the others together. `run` does not tune again what is kept.
`show` prints the headline by data set, and paired differences to the mean of the three adapters and to the one of all rows.
"""

import argparse
import subprocess
from pathlib import Path

import drawing
import numpy as np
from arms import interval, items, keep, run
from monthly import COMMON, METRIC, MONTHS, UPDATES
from systems import gap

from stages import files
from stages.statistics import rate_interval

ALL, PARTS = list(MONTHS), list(MONTHS)[:3]
PRUNED = ("--density", "0.2")  # as the paper on TIES keeps
WAYS: dict[str, tuple[str, ...]] = {"cat": (), "svd": (), "ties_svd": PRUNED, "dare_ties_svd": PRUNED}
KEPT = Path(".tunetrail/together")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="draw the headline of each system")
    options = parser.parse_args()
    if options.what == "run":
        tune(options.seed, options.overrides)
    else:
        print(table(options.seed, options.figure))


def tune(seed: int, overrides: list[str]) -> None:
    common = [*COMMON, f"seeds=[{seed}]", *overrides]
    names = {part: f"{part}-{seed}" for part in PARTS}
    for part, name in names.items():
        if not Path(f"adapters/{name}.dvc").is_file():
            run([*common, *_of(part)])
            _made("keep", name)
    for way, options in WAYS.items():
        if not Path(f"adapters/{way}-{seed}.dvc").is_file():
            _made("combine", *(f"adapters/{name}" for name in names.values()), "--method", way, *options, name=f"{way}-{seed}")
    combined = ", ".join(f"{way}-{seed}" for way in WAYS)
    run([*common, *_of(*PARTS), f"predict.kept=[{combined}]"])
    keep(Path("reports/complaints"), KEPT / str(seed) / "combined")
    *first, last = names
    others = ", ".join(names[part] for part in first)
    run([*common, *_of(last), f"predict.kept=[{others}]", "evaluate.vote=true"])
    keep(Path("reports/complaints"), KEPT / str(seed) / "voted")


def _of(*parts: str) -> list[str]:
    """Return the overrides that train on these data sets."""
    others = ", ".join(f"{part}: 0" for part in ALL if part not in parts)
    return [f"data.mix.rows={{{others}}}", f"train.max_steps={UPDATES * len(parts)}"]


def _made(command: str, *words: str, name: str = "") -> None:
    """Keep or combine adapters; git must know the new one, or the next experiment would remove it."""
    subprocess.run(["tunetrail", command, *words, *(["--name", name] if name else [])], check=True)
    subprocess.run(["git", "add", f"adapters/{name or words[0]}.dvc"], check=True)


def table(seed: int, figure: Path | None) -> str:
    combined, voted = (items(KEPT / str(seed) / folder) for folder in ("combined", "voted"))
    assert [row.id for row in combined] == [row.id for row in voted], "the two runs answered different rows"
    *first, last = PARTS
    systems = {f"tuned on {part}": (voted, f"kept_{part}-{seed}") for part in first}
    systems |= {f"tuned on {last}": (voted, f"tuned_{seed}"), "their vote": (voted, "vote")}
    systems |= {f"combined, {way}": (combined, f"kept_{way}-{seed}") for way in WAYS}
    systems |= {"tuned on all three": (combined, f"tuned_{seed}")}
    scores = {name: np.array([row.scores[key][METRIC] for row in rows]) for name, (rows, key) in systems.items()}
    sources = np.array([row.source for row in combined])
    came = np.array([next(part for part in ALL if part in row.slices) for row in combined])
    mean = np.mean([scores[f"tuned on {part}"] for part in PARTS], axis=0)
    every = scores["tuned on all three"]
    lines = [
        f"| system | {' | '.join(part.replace('_', ' ') for part in ALL)} | all | − mean of the three | − tuned on all three |",
        "|---|" + "---|" * (len(ALL) + 3),
    ]
    rates = {}
    for name, found in scores.items():
        rate = rates[name, METRIC] = rate_interval(found, sources)
        cells = [f"{100 * found[came == part].mean():.1f}" for part in ALL]
        gaps = ["" if found is other else interval(gap(found, other, sources), 100, 1) for other in (mean, every)]
        shown = f"{100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
        lines.append(f"| {name} | {' | '.join([*cells, shown, *gaps])} |")
    if figure:
        labels = {name: name.replace("tuned on ", "").replace("combined, ", "").replace("_", " ") for name in scores}
        title = f"{METRIC} of all {len(every)} rows by system, with 95 % intervals"
        files.write_text(figure, drawing.intervals(rates, labels, {METRIC: "#1b6ca8"}, title, width=90))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
