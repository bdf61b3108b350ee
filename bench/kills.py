"""Check that a killed run ends with the same bytes: python bench/kills.py [kills] [seed]

Runs the smoke experiment once without interruption in a temporary clone, then repeatedly in fresh clones. Each of these runs is
killed several times at random moments (SIGKILL to the whole process group), and recovered with `tunetrail doctor --fix` and
`dvc repro`. Prints a line per run and the counts. Exits with 1 if any run differs from the uninterrupted one.
"""

import hashlib
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
COMPOSE = [sys.executable, "-m", "stages.cli", "compose", "experiment=smoke", "runtime.threads=1"]
DOCTOR = [sys.executable, "-m", "stages.cli", "doctor", "--fix"]
REPRO = [sys.executable, "-m", "dvc", "repro"]
COMPARED = ("models/42/adapter/*", "reports/smoke/metrics.json", "reports/smoke/items.jsonl", "data/predictions/*.jsonl")
PER_RUN = (3, 8)  # kills per run, at least and at most


def environment(clone: Path, cache: Path) -> dict[str, str]:
    own = {"PYTHONPATH": str(clone), "TUNETRAIL_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **own, "PATH": path, "DVC_SITE_CACHE_DIR": str(clone / ".dvc/site")}


def cloned(folder: Path, name: str) -> tuple[Path, dict[str, str]]:
    clone = folder / name
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    variables = environment(clone, folder / "weights")
    subprocess.run(COMPOSE, cwd=clone, env=variables, check=True, capture_output=True)
    return clone, variables


def hashes(clone: Path) -> dict[str, str]:
    paths = sorted(path for pattern in COMPARED for path in clone.glob(pattern))
    return {str(path.relative_to(clone)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def killed(clone: Path, variables: dict[str, str], seconds: float) -> str | None:
    """Start `dvc repro`, kill it after the given seconds, and return the stage that ran; None if it ended before."""
    log = clone.parent / "log"
    with log.open("w") as out:
        run = subprocess.Popen(REPRO, cwd=clone, env=variables, stdout=out, stderr=out, start_new_session=True)
        try:
            run.wait(seconds)
            return None
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    stages = [line.split("'")[1] for line in log.read_text().splitlines() if line.startswith("Running stage")]
    return stages[-1] if stages else "before the first stage"


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    repaired, stages, kills, runs, wrong = Counter[str](), Counter[str](), 0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clone, variables = cloned(folder, "uninterrupted")
        started = time.monotonic()
        subprocess.run(REPRO, cwd=clone, env=variables, check=True, capture_output=True)
        whole, expected = time.monotonic() - started, hashes(clone)
        print(f"uninterrupted: {whole:.0f} s, {len(expected)} files", flush=True)
        while kills < wanted:
            runs += 1
            clone, variables = cloned(folder, f"run{runs}")
            for _ in range(rng.randint(*PER_RUN)):
                stage = killed(clone, variables, rng.uniform(1, whole / 3))
                if stage is None or kills == wanted:
                    break
                kills += 1
                stages[stage.partition("@")[0]] += 1
                doctor = subprocess.run(DOCTOR, cwd=clone, env=variables, capture_output=True, text=True)
                repaired.update(
                    line.split(": ")[2].split(" (")[0] for line in doctor.stdout.splitlines() if line.startswith("fixed")
                )
            done = subprocess.run(REPRO, cwd=clone, env=variables, capture_output=True, text=True)
            same = done.returncode == 0 and hashes(clone) == expected
            wrong += not same
            print(f"run {runs}: {kills} kills so far, {'same bytes' if same else 'OTHER BYTES'}", flush=True)
            if not same:
                print(done.stdout[-2000:], done.stderr[-2000:])
            subprocess.run(["rm", "-rf", str(clone)], check=True)
    print(f"{kills} kills in {runs} runs, {wrong} with other bytes")
    print("killed in", dict(stages.most_common()))
    print("repaired by doctor", dict(repaired))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
