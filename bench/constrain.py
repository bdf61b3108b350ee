"""Time answers kept to JSON against free ones, on validation rows: python bench/constrain.py [rounds] [--rows 64] [--systems …]

Both answer the same prompts in one process, alternating. Prints, per system, medians of the milliseconds per token, how many
answers are JSON objects, and how many texts are equal. Run `dvc repro` first; tuned_42 needs the adapter.
"""

import argparse
import statistics
import time
from pathlib import Path

import stages  # noqa: F401  # before any library: it switches their telemetry off

# isort: split
from stages import params, records
from stages.commands.predict.command import _schema
from stages.generation.constraint import json_only
from stages.generation.decoding import Completion, generate, likeliest
from stages.models.tuned import open_system
from stages.text import chat
from stages.text.objects import parsed
from stages.text.prompts import shots_of, with_shots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--systems", nargs="+", default=["base_3shot", "tuned_42"])
    asked = parser.parse_args()
    limit = params.read("predict.max_new_tokens").predict.max_new_tokens
    rows = list(records.read(Path("data/formatted/valid.jsonl"), records.Example))[: asked.rows]
    for system in asked.systems:
        lm = open_system(params.runtime(), system)
        prompts = [chat.prompt_ids(lm.tokenizer, with_shots(row.prompt, shots_of(system))) for row in rows]
        ways = {"free": likeliest, "json": json_only(lm, _schema())}
        generate(lm, prompts, 2, ways["free"])
        found: dict[str, list[tuple[float, list[Completion]]]] = {way: [] for way in ways}
        for _ in range(asked.rounds):
            for way, choose in ways.items():
                started = time.monotonic()
                answers = generate(lm, prompts, limit, choose)
                seconds = time.monotonic() - started
                found[way].append((1000 * seconds / sum(answer.new_tokens for answer in answers), answers))
        for way, runs in found.items():
            objects = sum(parsed(answer.text) is not None for answer in runs[0][1])
            cost = statistics.median(run[0] for run in runs)
            print(f"{system:12}{way:6}{cost:8.2f} ms per token{objects:5} of {len(rows)} are objects", flush=True)
        equal = sum(a.text == b.text for a, b in zip(found["free"][0][1], found["json"][0][1], strict=True))
        print(f"{system:12}{equal} of {len(rows)} texts equal", flush=True)


if __name__ == "__main__":
    main()
