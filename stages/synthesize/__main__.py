"""synthesize: one method's tasks from the raw records, with every call, every rejection and the funnel kept."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from stages import params, provenance, records, stage
from stages.params import Data
from stages.records import Document, Fact, Task
from stages.synthesize import self_instruct, self_kg, self_qa
from stages.synthesize.backends import backend
from stages.synthesize.made import Inputs, Made, funnel
from stages.synthesize.teacher import Teacher

RAW, SYNTHETIC, COST = Path("data/raw"), Path("data/synthetic"), Path("data/cost")

METHODS: dict[str, Callable[..., Made]] = {"self_instruct": self_instruct.run, "self_kg": self_kg.run, "self_qa": self_qa.run}


def main() -> None:
    method, started = sys.argv[1], time.monotonic()
    p, runtime = params.read("seed", "data", "teacher", "synthesis.budget", f"synthesis.{method}"), params.runtime()
    teacher = Teacher(backend(p.teacher, runtime), p.budget, p.seed)
    made = METHODS[method](read_inputs(p.data), teacher, getattr(p, method), p.seed) if method in METHODS else Made()

    folder = SYNTHETIC / method
    records.write(folder / "tasks.jsonl", made.tasks)
    records.write(folder / "calls.jsonl", teacher.calls)
    records.write(folder / "passages.jsonl", made.passages)
    records.write(folder / "kept.jsonl", made.kept)
    records.write(folder / "rejected.jsonl", made.rejected)
    records.write_json(folder / "funnel.json", funnel(method, made, len(teacher.calls), teacher.spent))
    cost = {"seconds": round(time.monotonic() - started, 1), **teacher.cost(), "machine": provenance.machine(runtime)}
    records.write_json(COST / f"synthesize_{method}.json", cost)
    print(f"{method}: {len(teacher.calls)} calls, {len(made.kept)} kept, {len(made.rejected)} rejected, {len(made.tasks)} rows")
    if teacher.refused:
        reason = next(iter(teacher.refused.values())).reason
        print(f"warning: {len(teacher.refused)} requests were refused and count as unanswered, e.g. {reason}", file=sys.stderr)
    if teacher.spent:
        print(f"{method}: stopped by {teacher.spent}", file=sys.stderr)


def read_inputs(data: Data) -> Inputs:
    return Inputs(
        seeds=list(records.read(RAW / "seeds.jsonl", Document)),
        pool=list(records.read(RAW / "pool.jsonl", Task)),
        documents=list(records.read(RAW / "documents.jsonl", Document)),
        facts=list(records.read(RAW / "facts.jsonl", Fact)),
        data=data,
    )


if __name__ == "__main__":
    stage.run(main)
