"""Measure the base and the tuned model on BIG-bench: python bench/bigbench.py bigbench-1.0.0.tar.gz [--system tuned_42]

    pip download --no-deps --no-binary :all: bigbench==1.0.0        # 358 MB

Seven tasks of the package with one right option per item (Srivastava et al. 2022, arXiv:2206.04615), of each at most 200 items,
drawn by the seed. Only their JSON files are read, and nothing of them is stored: they are for evaluation, never for training.
A prompt is the task's own text in the model's chat template. The answer is the option with the highest log-likelihood per
token, as in the retention of a report; BIG-bench itself compares sums. Prints accuracy by task, with paired differences.
Run `dvc repro` first.
"""

import argparse
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import stages  # noqa: F401  # before any library: it switches their telemetry off

# isort: split
import numpy as np
from arms import interval
from systems import gap

from stages import params
from stages.errors import reason
from stages.figures.retention import Retained
from stages.records import Example, Message
from stages.report import retention
from stages.statistics import rate_interval

TASKS = (  # named before any was run: short texts, other abilities than those of the default task
    "phrase_relatedness",
    "intent_recognition",
    "goal_step_wikihow/goal_inference",
    "entailed_polarity",
    "implicatures",
    "hindu_knowledge",
    "unit_conversion/unit_identification",
)
ROWS, SEED = 200, 42
LARGEST = 100_000_000  # bytes of a task file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--system", default="tuned_42")
    asked = parser.parse_args()
    given = read(asked.package)
    print(table(measured("base_0shot", given), measured(asked.system, given)))


def read(package: Path) -> dict[str, list[Example]]:
    """Return the drawn items of each task; exit with a line if the package lacks one, or holds something else."""
    try:
        found = _found(package)
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {reason(error)}"
        sys.exit(f"error: {package}: cannot be read ({why}); use the source package of bigbench 1.0.0")
    if missing := [task for task in TASKS if task not in found]:
        sys.exit(f"error: {package}: no {missing[0]}; use the source package of bigbench 1.0.0")
    return {task: found[task] for task in TASKS}


def _found(package: Path) -> dict[str, list[Example]]:
    wanted = {f"bigbench/benchmark_tasks/{task}/task.json": task for task in TASKS}
    found: dict[str, list[Example]] = {}
    with tarfile.open(package) as archive:
        for member in archive:
            task = wanted.get(member.name.partition("/")[2])
            if task and member.isfile() and member.size <= LARGEST and (file := archive.extractfile(member)):
                found[task] = drawn(task, json.load(file))
    return found


def drawn(task: str, content: Mapping[str, Any]) -> list[Example]:
    """Return at most ROWS items that have one right option, each text once, in the order of a draw by the seed."""
    items = {item["input"]: item for item in content["examples"] if sorted(item["target_scores"].values())[-2:] == [0, 1]}
    order = np.random.default_rng(SEED).permutation(len(items))[:ROWS]
    rows = list(items.values())
    return [example(task, content, rows[place]) for place in order]


def example(task: str, content: Mapping[str, Any], item: Mapping[str, Any]) -> Example:
    """Return the item as a closed question; its prompt has the task's own words and, unless it says no, the options."""
    scores: dict[str, float] = item["target_scores"]
    shown = content.get("append_choices_to_input", True)
    mark = content.get("choice_prefix", "\n  choice: ")
    options = "".join(mark + option for option in scores) if shown else ""
    before = content.get("task_prefix", "") + content.get("example_input_prefix", "\nQ: ")
    asked = (before + item["input"] + options + content.get("example_output_prefix", "\nA: ")).strip()
    answer = max(scores, key=lambda option: scores[option])
    messages = (Message(role="user", content=asked), Message(role="assistant", content=answer))
    return Example(kind="choice", messages=messages, source=task, choices=tuple(scores))


def measured(system: str, given: Mapping[str, Sequence[Example]]) -> dict[str, Retained]:
    """Return the log-likelihoods of the options of each task's items."""
    from stages.models.tuned import open_system
    from stages.retention.measure import measure

    lm, size = open_system(params.runtime(), system), params.read("predict.batch_size").predict.batch_size
    return {task: measure(lm, rows, size) for task, rows in given.items()}


def table(base: Mapping[str, Retained], tuned: Mapping[str, Retained]) -> str:
    """Return accuracy by task in percent and paired differences in points, as Markdown; each item is a cluster."""
    lines = ["| task | items | chance | base | tuned | tuned − base |", "|---|---|---|---|---|---|"]
    for task in base:
        items = retention.items({"base": base[task], "tuned": tuned[task]})
        before, after = (np.array([item.scores[system] for item in items]) for system in ("base", "tuned"))
        alone = np.arange(len(items))
        cells = [f"{100 * np.mean([1 / item.size for item in items]):.1f}"]
        for scores in (before, after):
            rate = rate_interval(scores, alone)
            cells.append(f"{100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]")
        cells.append(interval(gap(after, before, alone), 100, 1))
        lines.append(f"| {task} | {len(items)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
