"""How much longer predictions take next to another process that computes.

    python bench/contention.py [rounds] [--settings default 10000 …] [--others 0.2] [--rows 32]

Each process answers the same rows of the default task with the base model of models/base.json on two threads. One process
alone and two at once alternate, with libgomp's own spinning and with each setting of GOMP_SPINCOUNT. Two start to answer at
the same moment, when both have loaded the model. Prints medians of the seconds that answering takes, and fails where answers
differ. A measurement counts only if other programs kept fewer cores busy than --others; else it is repeated. Run `make repro`
first; Linux only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = ("default", "0", "1000", "10000", "100000")
NEW_TOKENS = 32
ANSWER = f"""
import sys, time
from pathlib import Path
from stages import records, params
from stages.generation.decoding import greedy
from stages.models.loading import open_base
from stages.text import chat
lm = open_base(params.runtime())
rows = list(records.read(Path("data/formatted/test.jsonl"), records.Example))[:int(sys.argv[1])]
prompts = [chat.prompt_ids(lm.tokenizer, row.prompt) for row in rows]
greedy(lm, prompts[:2], 2)
print("ready", flush=True)
input()
started = time.monotonic()
answers = greedy(lm, prompts, {NEW_TOKENS})
print(time.monotonic() - started, records.content_hash([answer.text for answer in answers]))
"""


def measure(setting: str, processes: int, rows: int) -> tuple[float, float, set[str]]:
    """Return the slowest process's seconds, the cores that other programs kept busy, and the hashes of the answers."""
    value = "" if setting == "default" else setting  # an empty value is read as libgomp's own
    command, environment = [sys.executable, "-c", ANSWER, str(rows)], {**os.environ, "GOMP_SPINCOUNT": value}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(processes)]
    for process in running:
        assert process.stdout.readline() == "ready\n", "a process ended early; see `python -m stages.predict base_0shot`"
    others, started = _busy(running), time.monotonic()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    answered = [process.stdout.readline().split() for process in running]
    cores = (_busy(running) - others) / (time.monotonic() - started)
    for process in running:
        process.communicate()
    return max(float(seconds) for seconds, _ in answered), cores, {digest for _, digest in answered}


def _busy(without: list[subprocess.Popen]) -> float:
    """Return the seconds that all cores have computed for anything but these processes."""
    ticks = sum(map(int, Path("/proc/stat").read_text().split()[1:4]))
    for process in without:
        ticks -= sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=SETTINGS)
    parser.add_argument("--others", type=float, default=0.2)
    parser.add_argument("--rows", type=int, default=32)
    asked = parser.parse_args()
    seconds: dict[tuple[str, int], list[float]] = {(setting, n): [] for setting in asked.settings for n in (1, 2)}
    digests: set[str] = set()
    for _ in range(asked.rounds):
        for (setting, n), times in seconds.items():
            cores = asked.others
            while cores >= asked.others:
                took, cores, answers = measure(setting, n, asked.rows)
                digests |= answers
                print(f"{setting:>8}, {n} at once: {took:6.2f} s; others {cores:.2f} cores", file=sys.stderr, flush=True)
            times.append(took)
    median = {key: statistics.median(times) for key, times in seconds.items()}
    print(f"{'GOMP_SPINCOUNT':15} {'alone, s':>9} {'two, s':>9} {'ratio':>6} {'alone to first':>15}")
    for setting in asked.settings:
        one, two = median[setting, 1], median[setting, 2]
        print(f"{setting:15} {one:9.2f} {two:9.2f} {two / one:6.2f} {one / median[asked.settings[0], 1]:15.3f}")
    if len(digests) > 1:
        raise SystemExit("error: the answers of the processes differ")


if __name__ == "__main__":
    main()
