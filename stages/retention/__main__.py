"""retention: what the base model, or one seed's tuned model, still does on general text, questions and harmful requests."""

import sys
from pathlib import Path

from stages import models, params, provenance, records, stage
from stages.records import Example
from stages.retention.measure import measure

FORMATTED, RETENTION = Path("data/formatted"), Path("data/retention")


def main() -> None:
    system, runtime = sys.argv[1], params.runtime()
    p = params.read("predict.batch_size")
    provenance.prepare(runtime)
    weights, device = models.ensure(models.read_manifest()), provenance.device(runtime)
    tokenizer = models.load_tokenizer(weights)
    adapter = Path("models") / system.removeprefix("tuned_") / "adapter"
    model = models.load_base(weights, device) if system == "base" else models.load_tuned(weights, adapter, device)

    found = measure(model, tokenizer, list(records.read(FORMATTED / "general.jsonl", Example)), p.batch_size)
    records.write_json(RETENTION / f"{system}.json", found)
    print(f"{system}: " + ", ".join(f"{len(rows)} {name}" for name, rows in found.items()))


if __name__ == "__main__":
    stage.run(main)
