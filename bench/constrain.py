"""What keeping answers to JSON costs and brings: python bench/constrain.py [rounds] [--rows N] [--split test] [--systems …]

Each system answers the first rows of a split freely, kept to JSON, and with texts copied from the prompt too, in the batches of
the pipeline, alternating. Prints medians of the milliseconds per token, how many answers are objects and how many texts are
equal. Then the fields that are right, with intervals clustered by source as in the report, and what constraint and tuning
bring. Run `dvc repro` first.
"""

import argparse
import statistics
import time
from itertools import combinations
from pathlib import Path

import stages  # noqa: F401  # before any library: it switches their telemetry off

# isort: split
import numpy as np

from stages import files, params, records
from stages.evaluate import extraction
from stages.models.tuned import open_system
from stages.predict import answers
from stages.records import Prediction
from stages.statistics import paired_difference, rate_interval
from stages.text.objects import parsed
from stages.text.prompts import shots_by_dataset

FORMATTED = Path("data/formatted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=1)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--split", choices=("valid", "test"), default="valid")
    parser.add_argument("--systems", nargs="+", default=["base_3shot", "tuned_42"])
    asked = parser.parse_args()
    p = params.read("predict.batch_size", "predict.max_new_tokens").predict
    rows = list(records.read(FORMATTED / f"{asked.split}.jsonl", records.Example))[: asked.rows]
    schemas = files.read_json(FORMATTED / "schemas.json")
    ways = {"free": {}, "json": {"schemas": schemas}, "copied": {"schemas": schemas, "copied": True}}
    given: dict[tuple[str, str], list[Prediction]] = {}
    for system in asked.systems:
        lm, shots = open_system(params.runtime(), system), shots_by_dataset(system, rows)
        costs: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(asked.rounds):
            for way, kept in ways.items():
                limits = {"batch_size": p.batch_size, "max_new_tokens": p.max_new_tokens, "likelihood_rows": 0}
                started = time.monotonic()
                found = answers.predict(lm, rows, shots, system, **limits, **kept)
                costs[way].append(1000 * (time.monotonic() - started) / sum(answer.new_tokens for answer in found))
                given[system, way] = found
        for way in ways:
            objects = sum(parsed(answer.text) is not None for answer in given[system, way])
            print(f"{system:12}{way:6}{statistics.median(costs[way]):8.2f} ms per token{objects:5} of {len(rows)} are objects")
        equal = sum(a.text == b.text for a, b in zip(given[system, "free"], given[system, "json"], strict=True))
        print(f"{system:12}{equal} of {len(rows)} texts equal", flush=True)
    compare(rows, given)


def compare(rows: list[records.Example], given: dict[tuple[str, str], list[Prediction]]) -> None:
    """Print the mean of fields exact per system and way, and each difference of two, in percent and points."""
    sources = np.array([row.source for row in rows])
    scores = {
        key: np.array([extraction.score(row, answer)[0]["field_exact"] for row, answer in zip(rows, found, strict=True)])
        for key, found in given.items()
    }
    for (system, way), values in scores.items():
        rate = rate_interval(values, sources)
        print(f"{system:12}{way:6}{100 * rate.mean:8.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}] % of the fields")
    for (before, a), (after, b) in combinations(scores.items(), 2):
        found = paired_difference(b, a, sources, 10_000, np.random.default_rng(42))
        bounds = f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
        print(f"{' '.join(before)} -> {' '.join(after)}: {bounds} points, p = {found.p:.4f}")


if __name__ == "__main__":
    main()
