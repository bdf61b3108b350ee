"""retention: measure the base, or one seed's tuned or aligned model, on general text, questions and requests."""

import sys
import time
from pathlib import Path

from stages import figures, files, params, records, stage, systems
from stages.figures.retention import RetentionCost
from stages.records import Example

FORMATTED, RETENTION, COST = Path("data/formatted"), Path("data/retention"), Path("data/cost")


def main() -> None:
    system, started = sys.argv[1], time.monotonic()
    aligned = systems.is_aligned(system)
    if aligned:
        wanted = params.read("align.method")
        if wanted.align.method not in systems.ANSWERING:
            files.write_json(RETENTION / f"{system}.json", {})
            files.write_json(COST / f"retention_{system}.json", {})
            return
    from stages import device, provenance
    from stages.models.tuned import open_system
    from stages.retention.measure import measure

    p, runtime = params.read("predict.batch_size"), params.runtime()
    memory = device.Memory(device.kind(runtime))
    general = list(records.read(FORMATTED / "general.jsonl", Example))
    measured = measure(open_system(runtime, system), general, p.predict.batch_size)
    figures.write(RETENTION / f"{system}.json", measured)
    cost = RetentionCost(
        seconds=round(time.monotonic() - started, 1),
        memory_peak_gib=memory.figures()["memory_peak_gib"],
        machine=provenance.machine(runtime),
    )
    figures.write(COST / f"retention_{system}.json", cost)
    requests = f"{len(measured.harm)} harmful and {len(measured.harmless)} harmless requests"
    print(f"{system}: {len(measured.texts)} texts, {len(measured.choices)} questions, {requests}")


if __name__ == "__main__":
    stage.run(main)
