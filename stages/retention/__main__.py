"""retention: measure the base, or one seed's tuned or aligned model, on general text, questions and requests."""

import sys
from pathlib import Path

from stages import figures, files, params, records, stage, systems
from stages.records import Example

FORMATTED, RETENTION = Path("data/formatted"), Path("data/retention")


def main() -> None:
    system = sys.argv[1]
    aligned = systems.is_aligned(system)
    if aligned:
        wanted = params.read("align.method")
        if wanted.align.method not in systems.ANSWERING:
            files.write_json(RETENTION / f"{system}.json", {})
            return
    from stages.models.tuned import open_system
    from stages.retention.measure import measure

    p, runtime = params.read("predict.batch_size"), params.runtime()
    general = list(records.read(FORMATTED / "general.jsonl", Example))
    measured = measure(open_system(runtime, system), general, p.predict.batch_size)
    figures.write(RETENTION / f"{system}.json", measured)
    requests = f"{len(measured.harm)} harmful and {len(measured.harmless)} harmless requests"
    print(f"{system}: {len(measured.texts)} texts, {len(measured.choices)} questions, {requests}")


if __name__ == "__main__":
    stage.run(main)
