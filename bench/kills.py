"""Check that a killed run ends with the same bytes: python bench/kills.py [kills] [seed]

Runs the smoke experiment, with pairs and their alignment, once without interruption in a temporary clone, then repeatedly in
fresh clones. Each of these runs is killed several times at random moments (SIGKILL to the whole process group), and recovered
with `tunetrail doctor --fix` and `dvc repro`. Prints a line per run to stderr and a summary as JSON. Exits with 1 if any run
differs from the uninterrupted one, or if doctor could not repair what a kill left.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ("experiment=smoke", "preference=verifier", "align=dpo", "align.save_steps=1")
START = [sys.executable, "-m", "dvc", "exp", "run", *(part for override in SMOKE for part in ("-S", override))]
REPRO = [sys.executable, "-m", "dvc", "repro"]
DOCTOR = [sys.executable, "-m", "stages.cli", "doctor", "--fix"]
COMPARED = (
    *("models/42/adapter/*", "data/pairs/42/*", "models/42/aligned/*", "data/alignment/42.json", "data/predictions/*.jsonl"),
    *("reports/smoke/metrics.json", "reports/smoke/items.jsonl"),
)
LEFT = (  # files that DVC and the stages can leave behind
    ".dvc/**/*.tmp",
    ".dvc/tmp/**/rwlock",
    ".dvc/tmp/exps/run/*/*.run",
    ".git/**/*.lock",
    ".git/refs/exps/exec/*",
    "[dmr]*/**/*.tmp",
    "[dmr]*/**/.*.part",
    ".tunetrail/*/*",
)
PER_RUN = (2, 5)  # kills per run, at least and at most


class Clone:
    """A fresh clone of HEAD with its own cache of weights; it reaches no hub and no package index."""

    def __init__(self, folder: Path, name: str) -> None:
        self.root, self.log = folder / name, folder / f"{name}.log"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.root)], check=True)
        for key in ("user.name", "user.email"):
            subprocess.run(["git", "config", key, "kills@localhost"], cwd=self.root, check=True)
        self.variables = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "TUNETRAIL_CACHE": str(folder / f"{name}-weights"),
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
            **{f"DVC_{name}_DIR": str(folder / name) for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")},
        }

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.root, env=self.variables, capture_output=True, text=True)

    def command(self) -> list[str]:
        """Return the command that continues the run: a kill may come before DVC has written the experiment's parameters."""
        return REPRO if "\nname: smoke\n" in (self.root / "params.yaml").read_text(encoding="utf-8") else START

    def killed(self, seconds: float) -> str | None:
        """Continue the run, kill it after the given seconds, and return the stage that ran; None if it ended before."""
        with self.log.open("w") as out:
            variables = {**self.variables, "PYTHONUNBUFFERED": "1"}
            run = subprocess.Popen(self.command(), cwd=self.root, env=variables, stdout=out, stderr=out, start_new_session=True)
            try:
                run.wait(seconds)
                return None
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
        stages = [line.split("'")[1] for line in self.log.read_text().splitlines() if line.startswith("Running stage")]
        return stages[-1].partition("@")[0] if stages else "before the first stage"

    def hashes(self) -> dict[str, str]:
        paths = [path for pattern in COMPARED for path in sorted(self.root.glob(pattern))]
        return {str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def left(self) -> Counter[str]:
        """Count leftover files by pattern; an rwlock is also counted by its state."""
        counts = Counter({pattern: len(list(self.root.glob(pattern))) for pattern in LEFT})
        for path in self.root.glob(".dvc/tmp/**/rwlock"):
            content = path.read_bytes()
            counts["rwlock, empty" if not content else "rwlock, with entries" if b"pid" in content else "rwlock, free"] += 1
        return +counts


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    stages, left, repaired, began = Counter[str](), Counter[str](), Counter[str](), time.monotonic()
    kills, runs, mismatches, unrepaired = 0, 0, [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clone = Clone(folder, "uninterrupted")
        started = time.monotonic()
        if (done := clone.run(START)).returncode:
            sys.exit(done.stdout + done.stderr)
        whole, expected = time.monotonic() - started, clone.hashes()
        print(f"uninterrupted: {whole:.0f} s, {len(expected)} files", file=sys.stderr, flush=True)
        while kills < wanted:
            runs += 1
            clone = Clone(folder, f"run{runs}")
            for _ in range(min(rng.randint(*PER_RUN), wanted - kills)):
                stage = clone.killed(rng.uniform(1, whole / 3))
                if stage is None:
                    break
                kills += 1
                stages[stage] += 1
                left += clone.left()
                doctor = clone.run(DOCTOR)
                fixed = [line for line in doctor.stdout.splitlines() if line.startswith("fixed: ")]
                repaired.update(line.split(": ")[2].split(";")[0].split(" (")[0] for line in fixed)
                print(f"  {stage}: {fixed}", file=sys.stderr, flush=True)
                if doctor.returncode:
                    unrepaired.append(doctor.stdout + doctor.stderr)
            done = clone.run(clone.command())
            if done.returncode or clone.hashes() != expected:
                mismatches.append({"run": runs, "status": done.returncode, "end": (done.stdout + done.stderr)[-2000:]})
            print(f"run {runs}: {kills} kills, {len(mismatches)} mismatches", file=sys.stderr, flush=True)
            subprocess.run(["rm", "-rf", str(clone.root)], check=True)
    summary = {
        "kills": kills,
        "runs": runs,
        "seconds": round(time.monotonic() - began),
        "uninterrupted_seconds": round(whole),
        "killed_in": dict(stages.most_common()),
        "left_behind": dict(left),
        "repaired": dict(repaired),
        "unrepaired": unrepaired,
        "mismatches": mismatches,
    }
    print(json.dumps(summary, indent=2))
    sys.exit(bool(mismatches or unrepaired))


if __name__ == "__main__":
    main()
