"""Measure how much longer predictions take while another process computes: python bench/contention.py [rounds]

Each process answers the same rows of the default task with the base model of models/base.json on two threads. One process and
two processes alternate, with libgomp's default spinning and with each setting of GOMP_SPINCOUNT below. Prints the median
seconds of answering, without loading. Run `make repro` first, and run nothing else meanwhile.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from stages import params, records
from stages.generation.decoding import greedy
from stages.models.loading import open_base
from stages.text import chat

SETTINGS = ("default", "0", "1000", "10000", "100000")
ROWS, NEW_TOKENS = 32, 32


def answer() -> None:
    """Print the seconds that this process takes to answer, without loading."""
    lm = open_base(params.runtime())
    rows = list(records.read(Path("data/formatted/test.jsonl"), records.Example))[:ROWS]
    prompts = [chat.prompt_ids(lm.tokenizer, row.prompt) for row in rows]
    greedy(lm, prompts[:2], 2)
    started = time.monotonic()
    greedy(lm, prompts, NEW_TOKENS)
    print(time.monotonic() - started)


def seconds(setting: str, processes: int) -> float:
    """Run the given number of processes at once and return the seconds of the slowest."""
    # libgomp reads an empty value as its default
    environment = {**os.environ, "GOMP_SPINCOUNT": "" if setting == "default" else setting}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "answer"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(processes)
    ]
    return max(float(process.communicate()[0].split()[-1]) for process in running)


def main() -> None:
    if sys.argv[1:] == ["answer"]:
        answer()
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    alone: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
    together: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
    for _ in range(rounds):
        for setting in SETTINGS:
            alone[setting].append(seconds(setting, 1))
            together[setting].append(seconds(setting, 2))
    print(f"{'GOMP_SPINCOUNT':15} {'alone, s':>9} {'two, s':>9} {'ratio':>6} {'alone to default':>17}")
    reference = statistics.median(alone["default"])
    for setting in SETTINGS:
        one, two = statistics.median(alone[setting]), statistics.median(together[setting])
        print(f"{setting:15} {one:9.2f} {two:9.2f} {two / one:6.2f} {one / reference:17.3f}")


if __name__ == "__main__":
    main()
