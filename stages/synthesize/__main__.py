"""synthesize: one method's tasks from the raw records, with every call, every rejection and the funnel kept."""

import sys
import time
from pathlib import Path

from stages import models, params, provenance, records, stage
from stages.records import Document
from stages.synthesize import self_instruct
from stages.synthesize.made import Made, funnel
from stages.synthesize.teacher import TEACHERS

RAW, SYNTHETIC, COST = Path("data/raw"), Path("data/synthetic"), Path("data/cost")


METHODS = {"self_instruct": self_instruct.run}


def main() -> None:
    method, started = sys.argv[1], time.monotonic()
    p, runtime = params.read("seed", "model", "data", "teacher", f"synthesis.{method}"), params.runtime()
    seeds = list(records.read(RAW / "seeds.jsonl", Document))
    teacher = TEACHERS[p.teacher.kind](p.teacher, models.read_manifest(), runtime)
    made = METHODS[method](seeds, teacher, getattr(p, method), p.data, p.seed) if method in METHODS else Made()

    folder = SYNTHETIC / method
    records.write(folder / "tasks.jsonl", made.tasks)
    records.write(folder / "calls.jsonl", teacher.calls)
    records.write(folder / "kept.jsonl", made.kept)
    records.write(folder / "rejected.jsonl", made.rejected)
    records.write_json(folder / "funnel.json", funnel(method, made, len(teacher.calls)))
    cost = {"seconds": round(time.monotonic() - started, 1), **teacher.cost(), "machine": provenance.machine(runtime)}
    records.write_json(COST / f"synthesize_{method}.json", cost)
    print(f"{method}: {len(teacher.calls)} calls, {len(made.kept)} kept, {len(made.rejected)} rejected, {len(made.tasks)} rows")


if __name__ == "__main__":
    stage.run(main)
