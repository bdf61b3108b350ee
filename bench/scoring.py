"""Time and peak memory of scoring and reporting many rows: the stages evaluate and report, run as dvc.yaml runs them.

    python bench/scoring.py [rows ...] [--sources N]

Makes test rows and the answers of four systems from those of the default run, in a temporary folder: each row is repeated with
other capitals and digits, and one answer in ten belongs to another row. The same number of rows always gives the same files.
`--sources` spreads the rows over N sources instead of the layouts of the data; a source per row is the hardest case for the
statistics. Prints, per number of rows and stage, the seconds, the processor's seconds, which other programs disturb less, and
the peak memory. Run `dvc repro` first: it makes the rows and answers.
"""

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ruamel.yaml import YAML

from stages import records
from stages.records import Example, Prediction, Record, Task

ROOT = Path(__file__).parents[1]
SPLIT, RAW, PREDICTIONS = Path("data/formatted/test.jsonl"), Path("data/raw/test.jsonl"), Path("data/predictions")
SYSTEMS = {"base_0shot": "base_0shot", "base_1shot": "base_3shot", "base_3shot": "base_3shot", "tuned_42": "tuned_42"}
OTHER_ROW = {"base_1shot": 1.0}  # share of answers that belong to another row, else 0.1; no two systems answer alike
CHANGED = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # neither the keys of an object nor its escapes


def make(folder: Path, count: int, sources: int | None) -> None:
    """Fill the folder with what the two stages read, for `count` rows and four systems."""
    shutil.copytree("data", folder / "data", ignore=shutil.ignore_patterns("own", "scores.jsonl", "totals.json"))
    (folder / "models").mkdir()
    shutil.copy("models/base.json", folder / "models")
    params = YAML(typ="safe").load(Path("params.yaml"))
    params["predict"]["shots"] = [0, 1, 3]
    YAML(typ="safe").dump(params, folder / "params.yaml")
    shutil.copy(folder / "data/cost/predict_base_3shot.json", folder / "data/cost/predict_base_1shot.json")

    examples = list(records.read(SPLIT, Example))
    answers = {system: records.aligned(PREDICTIONS / f"{source}.jsonl", examples) for system, source in SYSTEMS.items()}
    generator = random.Random(0)
    with ExitStack() as stack:
        places = (RAW, SPLIT, *(PREDICTIONS / f"{system}.jsonl" for system in SYSTEMS))
        files = [stack.enter_context((folder / place).open("w", encoding="utf-8")) for place in places]
        for number in range(count):
            other = str.maketrans(CHANGED, "".join(generator.sample(CHANGED, len(CHANGED))))
            row = examples[number % len(examples)]
            turns = [{"role": turn.role, "content": turn.content.translate(other)} for turn in row.messages]
            turns[1]["content"] += f"\n{number}"
            same = {"kind": row.kind, "slices": row.slices}
            same["source"] = row.source if sources is None else f"source-{number % sources}"
            task = Task(**same, **dict(zip(("system", "input", "output"), (turn["content"] for turn in turns), strict=True)))
            example = Example(**same, messages=turns, parents=[task.id])
            made: list[Record] = [task, example]
            for name, given in answers.items():
                mixed = generator.random() < OTHER_ROW.get(name, 0.1)
                answer = generator.choice(given) if mixed else given[number % len(given)]
                new = {"system": name, "text": answer.text.translate(other), "example": example.id, "parents": [example.id]}
                made.append(Prediction(**answer.model_dump(exclude={"id"}) | new))
            for file, record in zip(files, made, strict=True):
                file.write(record.model_dump_json(exclude_defaults=True) + "\n")


def run(command: str, folder: Path) -> tuple[float, float, float]:
    """Return the seconds, the processor's seconds and the peak memory in GiB of a stage's command."""
    started = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, shell=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command}: failed")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--sources", type=int)
    asked = parser.parse_args()
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    print(f"{'rows':>8} {'stage':10}{'s':>8}{'CPU s':>8}{'GiB':>8}")
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), rows, asked.sources)
            for stage in ("evaluate", "report"):
                seconds, busy, peak = run(stages[stage]["cmd"], Path(folder))
                print(f"{rows:8} {stage:10}{seconds:8.1f}{busy:8.1f}{peak:8.2f}", flush=True)


if __name__ == "__main__":
    main()
