"""Compare what `tunetrail plan` expects with what runs then take: python bench/plans.py [--rows 96] [--only NAME ...]

Works in a temporary copy of this clone, with the first rows of its data; run `dvc repro` first. For each configuration it
probes the stages that compute, runs them, and prints expected and real seconds and peak memory with their ratios. The plan
of `align` is made once the pairs are there; before, it counts one pair for every prompt.
The base model's predictions are left out where the configuration changes nothing in them.

The plan expects a tuned model's answers to be as long as the references. After a few rows it is not tuned: its answers may be
longer. So the last column has the ratio for the tokens that were decoded; for the rest of the runs it is the first one.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stages import params, records
from stages.commands.plan import machine

CONFIGURATIONS: dict[str, list[str]] = {
    "default": [],
    "rank 64, micro-batches of 2": ["lora.r=64", "runtime.micro_batch_size=2"],
    "gradient checkpointing": ["train.gradient_checkpointing=true"],
    "full tuning": ["adapter=full", "quantization=none", "train.learning_rate=1e-5"],
    "packing to 512 tokens": ["train.packing=true", "train.group_by_length=false", "format.max_length=512"],
    "pairs and dpo": ["preference=verifier", "align=dpo"],
    "batches of 16": ["train.batch_size=16", "runtime.micro_batch_size=8", "predict.batch_size=16", "quantization=none"],
}
SEED = "42"
SYSTEMS = {"base_0shot": "base_0shot", "base_3shot": "base_3shot", "tuned": f"tuned_{SEED}", "aligned": f"aligned_{SEED}"}
LATER = ("pairs", "align")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=96, help="rows for training, and for testing")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    asked = parser.parse_args()
    titles = ("expected s", "real s", "ratio", "expected GiB", "real GiB", "ratio", "by tokens")
    print(f"{'configuration':30}{'run':12}" + "".join(f"{title:>14}" for title in titles))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clone"
        shutil.copytree(".", root, ignore=shutil.ignore_patterns(".venv", ".git", ".dvc", ".tunetrail"))
        for split in ("train", "test"):
            path = root / f"data/formatted/{split}.jsonl"
            kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[: asked.rows]
            path.write_text("".join(kept), encoding="utf-8")
        for name in asked.only:
            compare(root, name)


def compare(root: Path, name: str) -> None:
    run(root, "stages.cli", "compose", *CONFIGURATIONS[name])
    p = params.check(params.load(root / "params.yaml"))
    for what in measured(name):
        rows = machine.at_a_time(p, what)
        expected = machine.Probe(**json.loads(run(root, "stages.commands.plan.probe", what, str(rows))[0]))
        stage = ("stages.predict", SYSTEMS[what]) if what in SYSTEMS else (f"stages.{what}", SEED)
        _, peak = run(root, *stage)
        cost = json.loads((root / f"data/cost/{stage[0].removeprefix('stages.')}_{stage[1]}.json").read_text())
        seconds, memory = (expected.seconds, cost["seconds"]), (expected.most / 2**30, peak)
        pairs = [f"{ours:14.2f}{theirs:14.2f}{ours / theirs:14.2f}" for ours, theirs in (seconds, memory)]
        further = decoded(root, SYSTEMS[what], p.predict.batch_size) - expected.units if what in SYSTEMS else 0
        by_tokens = (expected.seconds + further * expected.unit_seconds) / cost["seconds"]
        print(f"{name:30}{what:12}{''.join(pairs)}{by_tokens:14.2f}", flush=True)


def measured(name: str) -> list[str]:
    """Return the stages and systems that a configuration changes, in the order in which they run."""
    settings = CONFIGURATIONS[name]
    bases = [what for what in SYSTEMS if what.startswith("base")]
    all_systems = name == "default" or any(setting.startswith("predict.") for setting in settings)
    aligned = any(setting.startswith("align=") for setting in settings)
    return ["train", *(LATER if aligned else ()), *(bases if all_systems else ()), "tuned", *(["aligned"] if aligned else [])]


def decoded(root: Path, system: str, size: int) -> int:
    """Return the tokens that the batches of a prediction took, each as many as its longest answer."""
    rows = list(records.read(root / f"data/predictions/{system}.jsonl", records.Prediction))
    rows.sort(key=lambda row: (row.prompt_tokens, row.example))
    return sum(max(row.new_tokens for row in rows[start : start + size]) for start in range(0, len(rows), size))


def run(root: Path, module: str, *arguments: str) -> tuple[str, float]:
    """Run a module; return the last line that it prints and its peak memory in GiB."""
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout
        lines = process.stdout.read().splitlines()
        _, status, used = os.wait4(process.pid, 0)
        if status:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)}: failed with status {status}\n{errors.read()[-2000:]}")
    return (lines or [""])[-1], used.ru_maxrss / 2**20


if __name__ == "__main__":
    main()
