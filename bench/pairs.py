"""Check that two commands at once in one clone lose and mix nothing: python bench/pairs.py [runs] [seed]

Runs the smoke experiment once in a temporary clone, and each command alone to learn what it writes. Then starts random pairs of
commands, often two of the same kind, the second after a random pause. Each command must either write what it writes alone and
exit with 0, or stop with one line that begins with `error:` and change nothing. Afterwards the clone must be as before, and
`tunetrail doctor` must find nothing. Prints a line per run to stderr and a summary as JSON; exits with 1 if a run failed.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kills import DOCTOR, REPRO, START, Clone

CLI = [sys.executable, "-m", "stages.cli"]
TEXTS = [f"text {number}" for number in range(24)]
KEPT = ("params.yaml", "dvc.lock", "models/**/*", "data/predictions/*", "data/formatted/*", "reports/smoke/*.json*")
LEFT = (".*.lock", ".*.part", "reports/**/.*.lock", "reports/**/.*.part", ".tunetrail/before", ".tunetrail/*/.*.lock")
TIMES = {"seconds", "started", "machine", "usd", "teacher_seconds"}


@dataclass(frozen=True)
class Command:
    """A command, the files that it writes, and whether it may fail by the exit code and line of DVC itself."""

    name: str
    line: list[str]
    writes: tuple[str, ...] = ()
    of_dvc: bool = False


def commands() -> list[Command]:
    """Return the commands to pair; those with one output differ in what they would write there."""
    asked = ["--input", "texts.txt", "--output", "answers.jsonl"]
    rated = ["rate", "export", "--raters", "ann,ben", "--output", "sheets", "--systems"]
    sheets = ("sheets/ann.csv", "sheets/ben.csv", "sheets.key.csv")
    experiment = ["bash", ".ci/experiment.sh", "smoke"]
    return [
        Command("predict", [*CLI, "predict", *asked], ("answers.jsonl",)),
        Command("predict base", [*CLI, "predict", *asked, "--system", "base_1shot"], ("answers.jsonl",)),
        Command("export", [*CLI, "export", "--output", "exported"], ("exported/*",)),
        Command("judge", [*CLI, "judge", "--rows", "4"], ("reports/smoke/judge.json",)),
        Command("judge base", [*CLI, "judge", "--rows", "4", "--systems", "base_0shot,base_1shot"], ("reports/smoke/judge.json",)),
        Command("rate", [*CLI, *rated, "base_0shot,tuned_42", "--rows", "3"], sheets),
        Command("rate base", [*CLI, *rated, "base_0shot,base_1shot", "--rows", "2"], sheets),
        Command("audit", [*CLI, "audit", "export", "audit.csv"], ("audit.csv",)),
        Command("compose", [*CLI, "compose", "experiment=smoke"], ("params.yaml",)),
        Command("repro", REPRO, of_dvc=True),
        Command("repro forced", [*REPRO, "--single-item", "--force", "evaluate"], of_dvc=True),
        Command("experiment", experiment, ("reports/smoke/params.yaml",), of_dvc=True),
        Command("experiment of seed 7", [*experiment, "seed=7"], ("reports/smoke/params.yaml",), of_dvc=True),
    ]


class Shared(Clone):
    """A clone in which the smoke experiment has run; `expected` holds the state and what each command writes alone."""

    def start(self, command: Command) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command.line, cwd=self.root, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def state(self, *patterns: str) -> dict[str, str]:
        """Return a hash of each file that matches; seconds and costs count for nothing."""
        paths = {path for pattern in patterns for path in self.root.glob(pattern) if path.is_file()}
        return {str(path.relative_to(self.root)): _hash(path) for path in sorted(paths)}

    def left(self) -> list[str]:  # type: ignore[override]
        return [str(path.relative_to(self.root)) for pattern in LEFT for path in self.root.glob(pattern)]

    def clear(self, wrote: list[str]) -> None:
        """Remove what commands wrote besides the run, and bring back the report that an experiment wrote over."""
        for name in ("answers.jsonl", "audit.csv", "exported", "sheets", "sheets.key.csv", "reports/smoke/judge.json"):
            path = self.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if any(name.startswith("experiment") for name in wrote):
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


def lines(error: str) -> list[str]:
    return [line for line in error.splitlines() if line.lower().startswith("error:")]


def faults(clone: Shared, pair: list[Command], done: list[tuple[int, str, str]], before: dict, alone: dict) -> list[str]:
    """Return what went wrong in a run."""
    found, wrote = [], [command for command, (status, _, _) in zip(pair, done, strict=True) if status == 0]
    for command, (status, out, error) in zip(pair, done, strict=True):
        if "Traceback" in error + out:
            found.append(f"{command.name}: traceback: {error[-1500:]}")
        elif status and len(lines(error)) != 1 and not command.of_dvc:
            found.append(f"{command.name}: exit code {status} with {len(lines(error))} lines: {error[-1500:]}")
        elif status and not lines(error + "\n" + out):
            found.append(f"{command.name}: exit code {status} without a line: {(out + error)[-1500:]}")
    if not wrote:
        found.append(f"both stopped: {[lines(error) or out[-500:] for _, out, error in done]}")
    for output in {output for command in pair for output in command.writes}:
        written = clone.state(output)
        wanted = [alone[command.name][output] for command in wrote if output in command.writes]
        if wanted and written not in wanted:
            found.append(f"{output}: not what one of {[command.name for command in wrote]} writes alone")
        if not wanted and written and output not in KEPT and not output.startswith(("params", "reports/smoke/params")):
            found.append(f"{output}: written by a command that failed")
    if not any(command.name.startswith("experiment") for command in wrote) and clone.state(*KEPT) != before:
        found.append(f"the run changed: {sorted(dict(set(clone.state(*KEPT).items()) ^ set(before.items())))}")
    if params := clone.state("params.yaml").items() ^ {"params.yaml": before["params.yaml"]}.items():
        found.append(f"params.yaml is another one: {params}")
    found += [f"left behind: {name}" for name in clone.left()]
    doctor = clone.run(DOCTOR[:-1])
    if doctor.returncode:
        found.append(f"doctor: {doctor.stdout}{doctor.stderr}")
    return found


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    began, ends, stopped, failed = time.monotonic(), Counter[str](), Counter[str](), []
    with tempfile.TemporaryDirectory() as temporary:
        clone = Shared(Path(temporary), "shared")
        if (done := clone.run(START)).returncode:
            sys.exit(done.stdout + done.stderr)
        (clone.root / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
        alone, seconds = {}, {}
        for command in commands():
            started = time.monotonic()
            if (done := clone.run(command.line)).returncode:
                sys.exit(f"{command.name}: {done.stdout}{done.stderr}")
            seconds[command.name] = time.monotonic() - started
            alone[command.name] = {output: clone.state(output) for output in command.writes}
            clone.clear([command.name])
            print(f"{command.name} alone: {seconds[command.name]:.0f} s", file=sys.stderr, flush=True)
        before = clone.state(*KEPT)
        for number in range(1, wanted + 1):
            first = rng.choice(commands())
            alike = [other for other in commands() if set(other.writes) & set(first.writes)] or [first]
            pair = [first, rng.choice(alike if rng.random() < 0.5 else commands())]
            pause = rng.uniform(0, seconds[first.name])
            running = [clone.start(pair[0])]
            time.sleep(pause)
            running.append(clone.start(pair[1]))
            done = [(process.returncode, *process.communicate()) for process in running]
            done = [(process.returncode, out, error) for process, (_, out, error) in zip(running, done, strict=True)]
            wrong = faults(clone, pair, done, before, alone)
            codes = [status for status, _, _ in done]
            ends["both finished" if codes == [0, 0] else "one stopped" if 0 in codes else "both stopped"] += 1
            for command, (status, _, error) in zip(pair, done, strict=True):
                if status:
                    stopped[f"{command.name}: {(lines(error) or ['by DVC'])[0].split(':')[1].strip()}"] += 1
            if wrong:
                failed.append({"run": number, "pair": [command.name for command in pair], "pause": round(pause, 2), "wrong": wrong})
            print(f"run {number}: {pair[0].name} + {pair[1].name} after {pause:.1f} s: {codes} {wrong}", file=sys.stderr, flush=True)
            clone.clear([command.name for command in pair])
    summary = {
        "runs": wanted,
        "seconds": round(time.monotonic() - began),
        "ends": dict(ends),
        "stopped": dict(stopped.most_common()),
        "failed": failed,
    }
    print(json.dumps(summary, indent=2))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
