"""Measure when synthesis helps: few or many authored bodies, with and without the teacher's, at equal optimizer steps.

    python bench/bodies.py [--bodies 20 60 180 420] [--seeds 42] [--steps 96] [--rows N] [--split valid] [-S key=value ...]

Works in a temporary copy of this clone; run `make repro` first, so that the base model is at hand. For each number of authored
training bodies it trains three arms: authored bodies alone, both, synthetic bodies alone. Smaller sets of bodies are subsets of
larger ones, the teacher sees no other bodies, and all layouts stay. Authored and synthetic bodies give as many rows each as
the steps take, so half of the rows of "both" are synthetic. The tuned model answers the first `--rows` rows of the split.

Another teacher is chosen with -S; authored bodies alone do not depend on it.

A finished cell is a line in .tunetrail/bodies.jsonl and is not run again; delete the file to start again. Prints the metric of
each cell and its paired difference from the authored bodies alone, both clustered by source. With several seeds, a row's score
is its mean over them. `--figure FILE.svg` also draws the metric of each cell with its interval.
"""

import argparse
import itertools
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import drawing
import numpy as np
from arms import difference
from plans import run

from stages import figures, files, params, records
from stages.evaluate import metrics
from stages.figures.synthesis import Funnel
from stages.statistics import Rate, rate_interval

ARMS = {"authored": ["synthesis=none"], "both": [], "synthetic": ["format.authored=false"]}
COLORS = {"authored": "#1b6ca8", "both": "#2e7d32", "synthetic": "#b45309"}
BATCH = 4
KEPT = Path(".tunetrail/bodies.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, nargs="+", default=[20, 60, 180, 420])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--steps", type=int, default=96, help=f"optimizer steps of {BATCH} rows")
    parser.add_argument("--rows", type=int, help="rows to answer; all of the split by default")
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value", help="of every cell")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="draw the cells, each size in the order of the arms")
    asked = parser.parse_args()
    same = {"steps": asked.steps, "rows": asked.rows, "split": asked.split}
    cells = [
        {"bodies": bodies, "arm": arm, "seed": seed, **same, "overrides": changing(arm, asked.overrides)}
        for bodies, arm, seed in itertools.product(asked.bodies, ARMS, asked.seeds)
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clone"
        shutil.copytree(".", root, ignore=shutil.ignore_patterns(".venv", ".git", ".dvc", ".tunetrail"))
        for cell in cells:
            if finished(cell):
                continue
            if found := measure(root, cell):
                files.write_text(KEPT, "".join(f"{json.dumps(line)}\n" for line in [*stored(), cell | found]))
            else:
                print(f"{cell['bodies']} authored bodies, {cell['arm']}: no body of the teacher passed the filters", flush=True)
    lines = [line for cell in cells for line in finished(cell)]
    print(table(lines))
    if asked.figure:
        files.write_text(asked.figure, figure(lines))


def changing(arm: str, asked: list[str]) -> list[str]:
    """Return the overrides that change an arm: a teacher does not change authored bodies, so their cell is run once."""
    return [one for one in asked if arm != "authored" or not re.match(r"\+?(model@)?(teacher|synthesis)\b", one)]


def stored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in files.lines(KEPT)] if KEPT.is_file() else []


def finished(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stored line of the cell, if there is one."""
    return [line for line in stored() if cell.items() <= line.items()]


def measure(root: Path, cell: dict[str, Any]) -> dict[str, Any] | None:
    """Run the stages of a cell in the copy; return ids, sources and scores of the rows, the kept bodies and the seconds.

    Return None where the teacher's bodies are to be used and none of them was kept.
    """
    started, rows, system = time.monotonic(), cell["steps"] * BATCH, f"tuned_{cell['seed']}"
    overrides = [
        *(f"seeds=[{cell['seed']}]", f"data.rows.train={rows}", f"synthesis.self_instruct.rows={rows}"),
        *(f"train.max_steps={cell['steps']}", f"train.warmup_steps={cell['steps'] // 10}", f"train.batch_size={BATCH}"),
        *(f"predict.split={cell['split']}", "predict.likelihood_rows=0", "predict.agreement_rows=0"),
    ]
    run(root, "stages.cli", "compose", *overrides, *ARMS[cell["arm"]], *cell["overrides"])
    values = params.load(root / "params.yaml")
    authored, method = Path(values["data"]["path"]) / "bodies/train.txt", values["synthesis"]["methods"][0]
    (root / authored).write_text("".join(chosen(authored.read_text(encoding="utf-8"), cell["bodies"])), encoding="utf-8")
    for stage in ("fetch", "replay", f"synthesize {method}"):
        run(root, *f"stages.{stage}".split())
    funnel = figures.read(root / f"data/synthetic/{method}/funnel.json", Funnel)
    if cell["arm"] != "authored" and not funnel.stages[-1].count:
        return None
    run(root, "stages.format")
    asked = root / f"data/formatted/{cell['split']}.jsonl"
    examples = list(itertools.islice(records.read(asked, records.Example), cell["rows"]))
    records.write(asked, examples)
    run(root, "stages.train", str(cell["seed"]))
    run(root, "stages.predict", system)
    answers = records.aligned(root / f"data/predictions/{system}.jsonl", examples)
    return {
        "kept": funnel.stages[-1].count,
        "seconds": round(time.monotonic() - started),
        "ids": [example.id for example in examples],
        "sources": [example.source for example in examples],
        "scores": [metrics.score(*pair)[0]["field_exact"] for pair in zip(examples, answers, strict=True)],
    }


def chosen(bodies: str, count: int) -> list[str]:
    """Return the lines of the `count` bodies whose hashes are lowest, in the order of the file."""
    lines = [line for line in bodies.splitlines(keepends=True) if line.strip()]
    if not 0 < count <= len(lines):
        raise SystemExit(f"error: --bodies {count}: there are {len(lines)} training bodies; choose 1 to {len(lines)}")
    lowest = set(sorted(lines, key=records.content_hash)[:count])
    return [line for line in lines if line in lowest]


def table(lines: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a row per number of bodies and arm."""
    assert len({tuple(line["ids"]) for line in lines}) == 1, f"the cells answered different rows; delete {KEPT}"
    sources = np.array(lines[0]["sources"])
    rates = measured(lines)
    found = [
        "| authored bodies | arm | kept synthetic bodies | seeds | field exact, % | against authored | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for (bodies, arm), rate in rates.items():
        cells = [line for line in lines if (line["bodies"], line["arm"]) == (bodies, arm)]
        scores, first = (
            {line["seed"]: np.array(line["scores"]) for line in lines if (line["bodies"], line["arm"]) == (bodies, name)}
            for name in (arm, "authored")
        )
        gap = "" if arm == "authored" else difference(first, scores, sources)
        seconds = np.mean([line["seconds"] for line in cells])
        found.append(
            f"| {bodies} | {arm} | {cells[0]['kept']} | {len(cells)} | "
            f"{100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}] | {gap} | {seconds:.0f} |"
        )
    return "\n".join(found)


def measured(lines: list[dict[str, Any]]) -> dict[tuple[int, str], Rate]:
    """Return the metric of each number of bodies and arm, a row's score being its mean over the seeds."""
    scores: dict[tuple[int, str], list[list[float]]] = {}
    for line in lines:
        scores.setdefault((line["bodies"], line["arm"]), []).append(line["scores"])
    return {key: rate_interval(np.mean(rows, axis=0), np.array(lines[0]["sources"])) for key, rows in scores.items()}


def figure(lines: list[dict[str, Any]]) -> str:
    """Return an SVG image: the metric of each cell in percent, with its interval, by number of bodies."""
    rates = measured(lines)
    sizes = {bodies: f"{bodies} bodies" for bodies, _ in rates}
    return drawing.intervals(rates, sizes, COLORS, "Fields exact by authored bodies and arm, with 95 % intervals")


if __name__ == "__main__":
    main()
