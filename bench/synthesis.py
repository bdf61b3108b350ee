"""What synthetic rows are worth: training on authored rows only, on synthetic ones only, on both; equal steps.

    python bench/synthesis.py complaints [-S key=value ...]

Runs the arms below with `dvc exp run` in this repository (use a clone: the last arm stays in the workspace) on the validation
split, then prints the metric of each with paired differences to the first arm, by source. Further -S go to every arm.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from stages.report.statistics import paired_difference, rate_interval

COMMON = ["predict.split=valid", "predict.shots=[0]"]
ARMS = {
    "complaints": {
        "metric": "field_exact",
        "common": ["train.max_steps=60", "train.warmup_steps=5"],
        "authored rows only": ["synthesis=none"],
        "synthesized rows only": ["format.authored=false", "synthesis.self_instruct.rows=240"],
        "both": ["synthesis.self_instruct.rows=120"],
    },
}


def scores(path: Path, metric: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, scores of the tuned system and sources of the items that have the metric."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    system = next(name for name in rows[0]["scores"] if name.startswith("tuned_"))
    rows = [row for row in rows if metric in row["scores"][system]]
    values = np.array([row["scores"][system][metric] for row in rows])
    return [row["id"] for row in rows], values, np.array([row["source"] for row in rows])


def main() -> None:
    experiment, *given = sys.argv[1:]
    arms = dict(ARMS[experiment])
    metric, common = str(arms.pop("metric")), [*COMMON, *arms.pop("common")]
    found = {}
    for number, (arm, overrides) in enumerate(arms.items()):
        changes = [f"experiment={experiment}", *common, *overrides]
        flags = [word for change in changes for word in ("-S", change)]
        subprocess.run(["dvc", "exp", "run", *flags, *given], check=True)
        kept = Path(".tunetrail") / "arms" / experiment / f"{number}.jsonl"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("reports") / experiment / "items.jsonl", kept)
        found[arm] = scores(kept, metric)
    print(f"| {experiment}, {metric} on validation | rate | against the first |\n|---|---|---|")
    ids, first, sources = next(iter(found.values()))
    for arm, (mine, values, _) in found.items():
        assert mine == ids, "the arms answered different rows"
        rate = rate_interval(values, sources)
        gap = paired_difference(values, first, sources, 10_000, np.random.default_rng(0))
        told = f"{100 * gap.mean:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]" if arm != next(iter(found)) else ""
        print(f"| {arm} | {100 * rate.mean:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}] | {told} |")


if __name__ == "__main__":
    main()
