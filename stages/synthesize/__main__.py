"""synthesize: one method's tasks from the raw records, with all calls and rejections and the funnel."""

import sys
import time
from pathlib import Path

from stages import figures, params, records, stage
from stages.figures.synthesis import SynthesisCost
from stages.synthesize import losses
from stages.synthesize.made import Made, funnel
from stages.synthesize.methods import METHODS, read_inputs
from stages.teachers.backends import backend
from stages.teachers.teacher import Teacher
from stages.terminal import visible

SYNTHETIC, COST = Path("data/synthetic"), Path("data/cost")


def main() -> None:
    from stages import device, provenance

    method, started = sys.argv[1], time.monotonic()
    p, runtime = params.read("seed", "data", "teacher", "synthesis.budget", f"synthesis.{method}"), params.runtime()
    memory = device.Memory(device.kind(runtime))
    teacher = Teacher(backend(p.teacher, runtime), p.synthesis.budget, p.seed)
    made = METHODS[method](read_inputs(p.data), teacher, getattr(p.synthesis, method), p.seed) if method in METHODS else Made()

    folder = SYNTHETIC / method
    records.write(folder / "tasks.jsonl", made.tasks)
    records.write(folder / "calls.jsonl", teacher.calls)
    records.write(folder / "passages.jsonl", made.passages)
    records.write(folder / "kept.jsonl", made.kept)
    records.write(folder / "rejected.jsonl", made.rejected)
    warning = losses.warning(method, made, teacher.calls) if method in METHODS else ""
    figures.write(folder / "funnel.json", funnel(method, made, len(teacher.calls), teacher.spent, warning))
    seconds, machine = round(time.monotonic() - started, 1), provenance.machine(runtime)
    peak = memory.figures()["memory_peak_gib"]
    cost = SynthesisCost(**teacher.cost().model_dump(), seconds=seconds, memory_peak_gib=peak, machine=machine)
    figures.write(COST / f"synthesize_{method}.json", cost)
    print(f"{method}: {len(teacher.calls)} calls, {len(made.kept)} kept, {len(made.rejected)} rejected, {len(made.tasks)} rows")
    if teacher.refused:
        reason = next(iter(teacher.refused.values())).reason
        refused = f"warning: {len(teacher.refused)} requests were refused and count as unanswered, e.g. {reason}"
        print(visible(refused), file=sys.stderr)
    if teacher.spent:
        print(f"{method}: stopped by {teacher.spent}", file=sys.stderr)
    if warning:
        losses.show(warning)


if __name__ == "__main__":
    stage.run(main)
