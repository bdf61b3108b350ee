"""fetch: the base model's manifest and the raw records of each split."""

from pathlib import Path

from stages import models, params, records, stage
from stages.fetch import authored, documents, general, rows
from stages.records import Document

RAW, SEEDS = Path("data/raw"), Path("data/authored/self_instruct/seeds.jsonl")


def main() -> None:
    p = params.read("seed", "model", "data", "retention")
    manifest = models.fetch(p.model)
    texts: dict[str, list[Document]] = {}
    whole: list[Document] = []
    if p.data.kind == "complaints":
        texts, splits = authored.complaints(p.data, p.seed)
    elif p.data.kind == "documents":
        whole, splits = documents.fetch(p.data)
    else:
        splits = rows.tasks(p.data, p.seed)
    for split, tasks in splits.items():
        records.write(RAW / f"{split}.jsonl", tasks)
    records.write(RAW / "seeds.jsonl", texts.get("train", []))
    records.write(RAW / "held_out.jsonl", texts.get("valid", []) + texts.get("test", []))  # for the trail alone
    records.write(RAW / "pool.jsonl", authored.seed_tasks(SEEDS))
    records.write(RAW / "documents.jsonl", whole)
    records.write(RAW / "facts.jsonl", [])
    records.write(RAW / "general.jsonl", general.tasks(p.retention))
    records.write_text(models.MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    counts = ", ".join(f"{len(tasks)} {split}" for split, tasks in splits.items())
    print(f"{manifest.model.name}: {manifest.parameters:,} parameters; rows: {counts}")


if __name__ == "__main__":
    stage.run(main)
