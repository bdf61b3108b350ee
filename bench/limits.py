"""Send a file of many rows through fetch and format, and print time and memory of each: python bench/limits.py [rows …]

A row is a question of 30 words and an answer of 12, about 300 bytes of JSONL; words are drawn from 20,000. Without numbers of
rows it takes 100,000 and 1,000,000; these need a few minutes and an hour on two cores. The model is the tiny random one.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORDS = 20_000


def write(path: Path, rows: int) -> None:
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(3, 9))) for _ in range(WORDS)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            question, answer = (" ".join(generator.choices(words, k=k)) for k in (30, 12))
            file.write(json.dumps({"input": f"{question}?", "output": f"{answer}."}) + "\n")


def measured(*command: str) -> dict[str, float]:
    """Run a command; return its seconds of computing and its largest resident memory."""
    process = subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return {"CPU seconds": round(usage.ru_utime + usage.ru_stime, 1), "GB": round(usage.ru_maxrss * 1024 / 1e9, 3)}


def main(sizes: list[int]) -> None:
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for part in ("data/own", "data/synthetic/none"):
                Path(part).mkdir(parents=True)
            Path("data/authored").symlink_to(ROOT / "data/authored")
            for empty in ("data/synthetic/none/tasks.jsonl", "data/replay.jsonl", "data/feedback/tasks.jsonl"):
                Path(empty).touch()
            write(Path("data/own/rows.jsonl"), rows)
            chosen = ["experiment=smoke", "data=rows", "data.path=data/own/rows.jsonl", "synthesis=none"]
            measured("stages.cli", "compose", *chosen, "name=limits", "report.headline=token_f1")
            bytes_ = Path("data/own/rows.jsonl").stat().st_size
            stages = {stage: measured(f"stages.{stage}") for stage in ("fetch", "format")}
            print(json.dumps({"rows": rows, "MB": round(bytes_ / 1e6), **stages}), flush=True)
            os.chdir(ROOT)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [100_000, 1_000_000])
