"""Check that two commands at once in one clone neither lose nor mix files: python bench/pairs.py [runs] [seed]

Runs the smoke experiment once in a temporary clone, and each command alone to learn what it writes. Then starts random pairs of
commands, often two of the same kind, the second after a random pause. Each command must either write what it writes alone and
exit with 0, or stop with one line that begins with `error:` and change nothing. Afterwards the clone must be as before, and
`tunetrail doctor` must find nothing. Prints a line per run to stderr and a summary as JSON; exits with 1 if a run failed.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kills import DOCTOR, REPRO, START, Clone

LEARNED = "train.learning_rate=0.01"  # at smoke's own rate so little is learned that export refuses to round it
CLI = [sys.executable, "-m", "stages.cli"]
JUDGED = "data/authored/assessments/smoke/judge.json"
TEXTS = [f"text {number}" for number in range(24)]
KEPT = (
    "params.yaml",
    "dvc.lock",
    "models/**/*",
    "data/predictions/*",
    "data/formatted/*",
    "reports/smoke/metrics.json",
    "reports/smoke/items.jsonl",
)
LEFT = (".*.lock", ".*.part", "[dmr]*/**/.*.lock", "[dmr]*/**/.*.part", ".tunetrail/before", ".tunetrail/*/.*.lock")
Hashes, Paths, Done = dict[str, str], tuple[str, ...], subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Command:
    """A command, the files that it writes, and whether it may fail by the exit code and line of DVC itself."""

    name: str
    line: list[str]
    writes: Paths = ()
    of_dvc: bool = False


def commands() -> list[Command]:
    """Return the commands to pair; those with one output differ in what they would write there."""
    asked = ["--input", "texts.txt", "--output", "answers.jsonl"]
    rated = ["rate", "export", "--raters", "ann,ben", "--output", "sheets", "--systems"]
    sheets = ("sheets/ann.csv", "sheets/ben.csv", "sheets.key.csv", "sheets.inputs.json")
    experiment = ["bash", ".ci/experiment.sh", "smoke", LEARNED]
    return [
        Command("predict", [*CLI, "predict", *asked], ("answers.jsonl",)),
        Command("predict base", [*CLI, "predict", *asked, "--system", "base_1shot"], ("answers.jsonl",)),
        Command("export", [*CLI, "export", "--output", "exported"], ("exported/*",)),
        Command("judge", [*CLI, "judge", "--rows", "4"], (JUDGED,)),
        Command("judge base", [*CLI, "judge", "--rows", "4", "--systems", "base_0shot,base_1shot"], (JUDGED,)),
        Command("rate", [*CLI, *rated, "base_0shot,tuned_42", "--rows", "3"], sheets),
        Command("rate base", [*CLI, *rated, "base_0shot,base_1shot", "--rows", "2"], sheets),
        Command("compose", [*CLI, "compose", "experiment=smoke", LEARNED], ("params.yaml",)),
        Command("repro", REPRO, of_dvc=True),
        Command("repro forced", [*REPRO, "--single-item", "--force", "evaluate"], of_dvc=True),
        Command("experiment", experiment, ("reports/smoke/params.yaml",), of_dvc=True),
        Command("experiment of seed 7", [*experiment, "seed=7"], ("reports/smoke/params.yaml",), of_dvc=True),
    ]


class Shared(Clone):
    """A clone in which the smoke experiment has run."""

    def together(self, pair: list[Command], pause: float) -> list[Done]:
        """Run two commands, the second after a pause in seconds."""
        with ThreadPoolExecutor() as pool:
            first = pool.submit(self.run, pair[0].line)
            time.sleep(pause)
            second = self.run(pair[1].line)
            return [first.result(), second]

    def state(self, *patterns: str) -> Hashes:
        """Return a hash of each file that matches."""
        paths = {path for pattern in patterns for path in self.root.glob(pattern) if path.is_file()}
        return {str(path.relative_to(self.root)): _hash(path) for path in sorted(paths)}

    def clear(self, ran: list[Command]) -> None:
        """Remove what commands wrote besides the run, and restore the report that an experiment overwrote."""
        for name in ("answers.jsonl", "exported", "sheets", "sheets.key.csv", "sheets.inputs.json", JUDGED):
            path = self.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if any(command.name.startswith("experiment") for command in ran):
            self.run(REPRO)


def _hash(path: Path) -> str:
    if path.name in ("cost.json", "details.json", "dvc.lock"):
        return ""  # seconds and memory
    content = path.read_bytes()
    if path.name == "judge.json":
        judged = json.loads(content)
        judged.pop("cost")
        content = json.dumps(judged).encode()
    return hashlib.sha256(content).hexdigest()


def errors(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.lower().startswith("error:")]


def faults(
    clone: Shared, pair: list[Command], done: list[Done], before: Hashes, idle: dict[Paths, Hashes], alone: dict[str, Hashes]
) -> list[str]:
    """Return what went wrong in a run; `idle` is the outputs' content before it, `alone` what each command writes alone."""
    found, wrote = [], [command for command, end in zip(pair, done, strict=True) if not end.returncode]
    for command, end in zip(pair, done, strict=True):
        printed = end.stdout + end.stderr
        named = errors(printed)
        if "Traceback" in printed:
            found.append(f"{command.name}: traceback: {printed[-1500:]}")
        elif end.returncode and (not named or (len(named) > 1 and not command.of_dvc)):
            found.append(f"{command.name}: exit code {end.returncode} with {len(named)} lines: {printed[-1500:]}")
    if not wrote:
        found.append(f"both stopped: {[errors(end.stdout + end.stderr) for end in done]}")
    for writes, lay in idle.items():
        written = clone.state(*writes)
        if written not in ([alone[command.name] for command in wrote if command.writes == writes] or [lay]):
            found.append(f"{', '.join(writes)}: not what one of {[command.name for command in wrote]} writes alone")
    if not any(command.name.startswith("experiment") for command in wrote) and (state := clone.state(*KEPT)) != before:
        found.append(f"changed: {sorted({name for name, _ in state.items() ^ before.items()})}")
    if clone.state("params.yaml")["params.yaml"] != before["params.yaml"]:
        found.append("params.yaml is another one")
    found += [f"left behind: {path.relative_to(clone.root)}" for pattern in LEFT for path in clone.root.glob(pattern)]
    if (doctor := clone.run(DOCTOR[:-1])).returncode:
        found.append(f"doctor: {doctor.stdout}{doctor.stderr}")
    return found


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    began, ends, stopped, failed = time.monotonic(), Counter[str](), Counter[str](), []
    with tempfile.TemporaryDirectory() as temporary:
        clone = Shared(Path(temporary), "shared")
        if (done := clone.run([*START, "-S", LEARNED])).returncode:
            sys.exit(done.stdout + done.stderr)
        (clone.root / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
        alone, seconds, skipped = dict[str, Hashes](), dict[str, float](), []
        for command in commands():
            started = time.monotonic()
            if (done := clone.run(command.line)).returncode:
                skipped.append(f"{command.name}: {errors(done.stdout + done.stderr)}")  # alone, too: nothing to compare with
                print(f"skipped: {skipped[-1]}", file=sys.stderr, flush=True)
                continue
            seconds[command.name] = time.monotonic() - started
            alone[command.name] = clone.state(*command.writes)
            clone.clear([command])
            print(f"{command.name} alone: {seconds[command.name]:.0f} s", file=sys.stderr, flush=True)
        usable, before = [command for command in commands() if command.name in alone], clone.state(*KEPT)
        for number in range(1, wanted + 1):
            first = rng.choice(usable)
            alike = [other for other in usable if other.writes == first.writes]
            pair = [first, rng.choice(alike if rng.random() < 0.5 else usable)]
            idle = {command.writes: clone.state(*command.writes) for command in pair}
            pause = rng.uniform(0, seconds[first.name] / 2)
            ends_of = clone.together(pair, pause)
            wrong = faults(clone, pair, ends_of, before, idle, alone)
            codes = [end.returncode for end in ends_of]
            ends["both finished" if codes == [0, 0] else "one stopped" if 0 in codes else "both stopped"] += 1
            for command, end in zip(pair, ends_of, strict=True):
                if end.returncode:
                    stopped[f"{command.name}: {(errors(end.stdout + end.stderr) or ['none'])[0][:60]}"] += 1
            if wrong:
                failed.append(
                    {"run": number, "pair": [command.name for command in pair], "pause": round(pause, 2), "wrong": wrong}
                )
            print(
                f"run {number}: {pair[0].name} + {pair[1].name} after {pause:.1f} s: {codes} {wrong}",
                file=sys.stderr,
                flush=True,
            )
            clone.clear(pair)
    summary = {
        "runs": wanted,
        "seconds": round(time.monotonic() - began),
        "ends": dict(ends),
        "stopped": dict(stopped.most_common()),
        "skipped": skipped,
        "failed": failed,
    }
    print(json.dumps(summary, indent=2))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
