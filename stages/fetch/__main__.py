"""fetch: the base model's manifest and the raw records of each split."""

from pathlib import Path

from stages import models, params, records, stage
from stages.fetch import authored, general, rows

RAW, SEEDS = Path("data/raw"), Path("data/authored/self_instruct/seeds.jsonl")


def main() -> None:
    p = params.read("seed", "model", "data", "retention")
    manifest = models.fetch(p.model)
    if p.data.kind == "complaints":
        documents, splits = authored.complaints(p.data, p.seed)
    else:
        documents, splits = {}, rows.tasks(p.data, p.seed)
    for split, tasks in splits.items():
        records.write(RAW / f"{split}.jsonl", tasks)
    records.write(RAW / "seeds.jsonl", documents.get("train", []))
    records.write(RAW / "held_out.jsonl", documents.get("valid", []) + documents.get("test", []))  # for the trail alone
    records.write(RAW / "pool.jsonl", authored.seed_tasks(SEEDS))
    records.write(RAW / "documents.jsonl", [])
    records.write(RAW / "facts.jsonl", [])
    records.write(RAW / "general.jsonl", general.tasks(p.retention))
    records.write_text(models.MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    counts = ", ".join(f"{len(tasks)} {split}" for split, tasks in splits.items())
    print(f"{manifest.model.name}: {manifest.parameters:,} parameters; rows: {counts}")


if __name__ == "__main__":
    stage.run(main)
