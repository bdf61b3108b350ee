"""Compare several runs ("arms") of an experiment with the first one, item by item.

    python bench/arms.py STUDY [--only NUMBER | --show] [--against NUMBER] [-S key=value ...]

Runs the arms of a study with `dvc exp run` in this repository and keeps the evidence in .tunetrail/arms/STUDY/. Use a clone:
the last arm stays in the workspace. Then prints, per arm, the metric, its paired difference to the first arm (clustered by
source), the loss on general text and the right general questions with their paired differences (by text and question),
training time and peak memory. `--against` compares with another arm. `--only` runs one arm, so that several clones can share
the work. Every -S applies to all arms.

With `-S seeds=[42,43,44]` every arm is trained with three seeds, and an item's score is its mean over them. Two arms are
compared over the seeds that both have; the difference within each seed is printed too. All arms of a study take the same number
of optimizer steps, except where an arm's name has its own.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from stages import figures
from stages.commands.compare.shapes import Item
from stages.figures.retention import Retained, ScoredChoice
from stages.statistics import Difference, paired_difference, rate_interval, ratio_difference, rows_needed
from stages.systems import is_tuned

UPDATES = ["predict.shots=[0]", "train.max_steps=48", "train.warmup_steps=5"]
SHORT = [*UPDATES, "predict.split=valid", "data.rows.valid=132"]
STUDIES: dict[str, dict[str, Any]] = {
    "synthesis-complaints": {
        "experiment": "complaints",
        "metric": "field_exact",
        "common": SHORT,
        "arms": {
            "authored bodies only": ["synthesis=none"],
            "synthesized bodies only": ["format.authored=false", "synthesis.self_instruct.rows=240"],
            "both": ["synthesis.self_instruct.rows=240"],
        },
    },
    "synthesis-handbook": {
        "experiment": "handbook",
        "metric": "token_f1",
        "common": ["predict.shots=[0]", "predict.passage=false", "synthesis.budget.max_calls=240", "train.max_steps=70"],
        "arms": {  # 70 steps are one epoch of the first arm
            "rule-made rows only": [],
            "teacher's rows only": ["synthesis.self_qa.generator=teacher"],
            "both": ["synthesis.self_qa.generator=both"],
        },
    },
    "synthesis-medical": {
        "experiment": "medical",
        "metric": "logprob_accuracy",
        "slice": "trained_facts",
        "common": [
            "predict.shots=[0]",
            "train.max_steps=500",
        ],  # five epochs of the first arm; after 64 steps no arm knows a fact
        "arms": {
            "template rows only": [],
            "teacher's rewordings only": ["synthesis.self_kg.templates=false", "synthesis.self_kg.reword=240"],
            "both": ["synthesis.self_kg.reword=240"],
        },
    },
    "adaptation": {  # each family has its best rate of "learning-rate"; LoRA at sixteen bits also has 1.5e-3, as on nf4
        "experiment": "complaints",
        "metric": "field_exact",
        "common": [*UPDATES, "data.rows.test=500", "lora.r=8"],
        "arms": {
            "LoRA r 8 on nf4": [],
            "LoRA r 8": ["quantization=none"],
            "full": ["adapter=full", "quantization=none", "train.learning_rate=2e-4"],
            "LoRA r 8 on nf4, q and v only": ["lora.target_modules=[q_proj,v_proj]"],
            "LoRA r 2 on nf4": ["lora.r=2"],
            "LoRA r 32 on nf4": ["lora.r=32"],
            "LoRA r 8, 3e-3": ["quantization=none", "train.learning_rate=3e-3"],
        },
    },
    "learning-rate": {  # for "adaptation", on validation rows
        "experiment": "complaints",
        "metric": "field_exact",
        "common": SHORT,
        "arms": {
            "LoRA r 8 on nf4, 1.5e-3": ["lora.r=8"],
            "LoRA r 8 on nf4, 5e-4": ["lora.r=8", "train.learning_rate=5e-4"],
            "LoRA r 8 on nf4, 3e-3": ["lora.r=8", "train.learning_rate=3e-3"],
            "full, 5e-5": ["adapter=full", "quantization=none", "train.learning_rate=5e-5"],
            "full, 2e-4": ["adapter=full", "quantization=none", "train.learning_rate=2e-4"],
            "full, 5e-4": ["adapter=full", "quantization=none", "train.learning_rate=5e-4"],
            "LoRA r 8, 1.5e-3": ["lora.r=8", "quantization=none"],
            "LoRA r 8, 5e-4": ["lora.r=8", "quantization=none", "train.learning_rate=5e-4"],
            "LoRA r 8, 3e-3": ["lora.r=8", "quantization=none", "train.learning_rate=3e-3"],
        },
    },
    "documents-first": {
        "experiment": "handbook",
        "metric": "token_f1",
        "common": ["predict.shots=[0]", "predict.passage=false"],
        "arms": {
            "questions alone": [],
            "documents, then questions": ["pretrain=documents"],
        },
    },
    "forgetting": {
        "experiment": "complaints",
        "metric": "field_exact",
        "common": SHORT,
        "arms": {
            "no measure": [],
            "replay 10 %": ["replay.fraction=0.1"],
            "EWC, λ = 1": ["replay.ewc_lambda=1"],
            "EWC, λ = 10": ["replay.ewc_lambda=10"],
            "EWC, λ = 100": ["replay.ewc_lambda=100"],
            "full, learning rate 5e-5": ["adapter=full", "quantization=none", "train.learning_rate=5e-5"],
            "full, learning rate 2e-4": ["adapter=full", "quantization=none", "train.learning_rate=2e-4"],
        },
    },
    "mixtures": {  # on the rows of bench/mixture.py, at equal steps; the last arm sees as much of each task as the first
        "experiment": "complaints",
        "tasks": {"records": "field_exact", "channels": "accuracy", "requests": "exact_match"},
        "common": [
            *("data=complaint_tasks", "synthesis=none", "report.headline=field_exact@records", "name=complaints"),
            *("predict.shots=[0]", "predict.split=valid", "predict.agreement_rows=0", "train.warmup_steps=10"),
        ],
        "arms": {
            "records alone": ["data.mix.rows={channels: 0, requests: 0}", "train.max_steps=96"],
            "three tasks": ["data.mix.weights={records: 1, channels: 1, requests: 1}", "train.max_steps=96"],
            "records, replay 10 %": [
                *("data.mix.rows={channels: 0, requests: 0}", "replay.fraction=0.1", "train.max_steps=96")
            ],
            "three tasks, 288 updates": ["data.mix.weights={records: 1, channels: 1, requests: 1}", "train.max_steps=288"],
        },
    },
}
BySeed = dict[str, np.ndarray]  # the scores of a tuned system's items
EVIDENCE = ("items.jsonl", "metrics.json", "cost.json")
GENERAL = {"bits_per_byte": (1, 3), "choice_accuracy": (100, 1)}  # general abilities: factor and decimals
RETENTION = Path("data/retention")  # a file for each tuned system; kept in the arm's folder "retention"
MARGIN = 0.02  # "equivalent": the whole interval of the difference lies within two points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run this arm alone, counted from 0")
    parser.add_argument("--show", action="store_true", help="run nothing, print the stored results")
    parser.add_argument("--against", type=int, metavar="NUMBER", default=0, help="compare with this arm, counted from 0")
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    study = STUDIES[options.study]
    last = len(study["arms"]) - 1
    for option, number in (("--only", options.only), ("--against", options.against)):
        if number is not None and not 0 <= number <= last:
            parser.error(f"{option} {number}: {options.study} has the arms 0 to {last}")
    kept = [Path(".tunetrail/arms") / options.study / str(number) for number in range(len(study["arms"]))]
    for number, (folder, overrides) in enumerate(zip(kept, study["arms"].values(), strict=True)):
        if not options.show and options.only in (None, number):
            run([f"experiment={study['experiment']}", *study["common"], *overrides, *options.overrides])
            keep(Path("reports") / study["experiment"], folder)
    for part, metric in study.get("tasks", {study.get("slice", ""): study.get("metric")}).items():
        print(table({**study, "slice": part, "metric": metric}, kept, options.against), end="\n\n")


def run(overrides: list[str]) -> None:
    subprocess.run(["dvc", "exp", "run", *(word for change in overrides for word in ("-S", change))], check=True)


def keep(report: Path, folder: Path) -> None:
    """Copy the evidence of the arm that has just run into its folder."""
    (folder / "retention").mkdir(parents=True, exist_ok=True)
    for name in EVIDENCE:
        shutil.copy(report / name, folder)
    for system in tuned(items(folder)):
        shutil.copy(RETENTION / f"{system}.json", folder / "retention")


def table(study: dict[str, Any], kept: list[Path], against: int) -> str:
    """Return a Markdown table with a row per arm that was run; differences need the arm compared with."""
    reference = list(study["arms"])[against]
    metric = " ".join([study["metric"].replace("_", " "), *(["of", study["slice"]] if study.get("slice") else [])])
    lines = [
        f"| arm | seeds | {metric}, % | against {reference} | bits per byte of general text (against {reference}) | "
        f"general questions, % (against {reference}) | training | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    compared = scores(kept[against], study) if kept[against].is_dir() else None
    for arm, folder in zip(study["arms"], kept, strict=True):
        if not folder.is_dir():
            continue
        (ids, by_seed, sources), metrics, cost = scores(folder, study), read(folder, "metrics.json"), read(folder, "cost.json")
        rate = rate_interval(np.mean(list(by_seed.values()), axis=0), sources)
        gap = difference(compared[1], by_seed, sources) if compared and arm != reference else ""
        assert compared is None or ids == compared[0], "the arms answered different rows"
        trainings = [entry for step, entry in cost.items() if step.startswith("train_")]
        general = metrics["retention"].get("tuned", {})
        gaps = forgotten(kept[against], folder, sorted(compared[1].keys() & by_seed)) if compared and arm != reference else {}
        lost, right = (
            f"{scale * general[name]:.{digits}f}{gaps.get(name, '')}" if name in general else ""
            for name, (scale, digits) in GENERAL.items()
        )
        lines.append(
            f"| {arm} | {len(by_seed)} | {100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}] | {gap} | "
            f"{lost} | {right} | {np.mean([entry['train_seconds'] for entry in trainings]):.0f} s | "
            f"{max(entry['memory_peak_gib'] for entry in trainings):.1f} GiB |"
        )
    return "\n".join(lines)


def forgotten(first: Path, folder: Path, systems: list[str]) -> dict[str, str]:
    """Return the paired difference of each general ability and its interval, by text or question, in words.

    A score is the mean over the systems. The evidence of arms that ran before it was kept gives no difference.
    """
    arms = [
        [figures.read(path, Retained) for system in systems if (path := arm / "retention" / f"{system}.json").is_file()]
        for arm in (first, folder)
    ]
    if any(len(arm) < len(systems) for arm in arms):
        return {}
    found: dict[str, Difference] = {}
    if sizes := [text.bytes for text in arms[0][0].texts]:
        a, b = (np.mean([[text.bits for text in run.texts] for run in arm], axis=0) for arm in arms)
        found["bits_per_byte"] = ratio_difference(b - a, np.array(sizes), 10_000, np.random.default_rng(0))
    if questions := len(arms[0][0].choices):
        a, b = (np.mean([[is_right(question) for question in run.choices] for run in arm], axis=0) for arm in arms)
        found["choice_accuracy"] = paired_difference(b, a, np.arange(questions), 10_000, np.random.default_rng(0))
    return {name: f" ({interval(gap, *GENERAL[name])})" for name, gap in found.items()}


def is_right(question: ScoredChoice) -> bool:
    """Return whether the option with the highest likelihood per token is the answer, as in the report."""
    return bool(np.argmax(np.divide(question.logprobs, question.tokens)) == question.answer)


def interval(gap: Difference, scale: float, digits: int) -> str:
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (gap.mean, gap.low, gap.high))
    return f"{mean} [{low}, {high}]"


def difference(first: BySeed, by_seed: BySeed, sources: np.ndarray) -> str:
    """Describe the paired difference over the seeds that both arms have: mean, interval and verdict.

    The interval covers the choice of rows only; the differences by seed show the choice of seeds. A verdict from the rows stays
    open if a single seed contradicts it: its difference lies outside the margin or has the opposite sign.
    """
    shared = sorted(first.keys() & by_seed.keys())
    gaps = np.array([by_seed[seed] - first[seed] for seed in shared])
    gap = paired_difference(gaps.mean(axis=0), np.zeros(gaps.shape[1]), sources, 10_000, np.random.default_rng(0))
    by_seed_mean = gaps.mean(axis=1)
    text = interval(gap, 100, 1)
    if len(shared) > 1:
        text += f" (by seed {', '.join(f'{100 * one:+.1f}' for one in by_seed_mean)})"
    if gap.low > -MARGIN and gap.high < MARGIN:
        verdict, agreed = "equivalent", bool(np.all(np.abs(by_seed_mean) < MARGIN))
    elif gap.low > 0 or gap.high < 0:
        verdict, agreed = "better" if gap.mean > 0 else "worse", len(set(np.sign(by_seed_mean))) == 1
    else:
        # A verdict needs an interval that excludes zero or lies within the margin: at this difference, of this half width.
        half = max(abs(gap.mean), MARGIN - abs(gap.mean))
        return f"{text}: open, about {rows_needed(gaps.shape[1], gap.low, gap.high, 2 * half)} rows needed"
    return f"{text}: {verdict if agreed else 'open, the seeds disagree: more of them are needed, not more rows'}"


def scores(folder: Path, study: dict[str, Any]) -> tuple[list[str], BySeed, np.ndarray]:
    """Return ids, scores by tuned system, and sources of the items in the study's slice that have the metric."""
    rows = items(folder)
    systems, metric = tuned(rows), study["metric"]
    rows = [row for row in rows if metric in row.scores[systems[0]] and study.get("slice", "") in ("", *row.slices)]
    values = {system: np.array([row.scores[system][metric] for row in rows]) for system in systems}
    return [row.id for row in rows], values, np.array([row.source for row in rows])


def items(folder: Path) -> list[Item]:
    return [Item.model_validate_json(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def tuned(rows: list[Item]) -> list[str]:
    """Return the names of the tuned systems, one per seed."""
    return [name for name in rows[0].scores if is_tuned(name)]


def read(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / name).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
