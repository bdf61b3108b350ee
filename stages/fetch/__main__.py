"""fetch: the base model's manifest and the raw records of each split."""

from pathlib import Path

from stages import chat, models, params, records, stage
from stages.fetch import authored, documents, general, graph, hub, rows
from stages.records import DataError, Document, Fact

RAW, SEEDS = Path("data/raw"), Path("data/authored/self_instruct/seeds.jsonl")


def main() -> None:
    p = params.read("seed", "model", "data", "retention")
    name = params.check_file().name  # for messages alone, so that dvc.yaml does not list it
    texts: dict[str, list[Document]] = {}
    facts: dict[str, list[Fact]] = {}
    whole: list[Document] = []
    snapshot: Path | None = None
    if p.data.kind == "complaints":
        texts, splits = authored.complaints(p.data, p.seed)
    elif p.data.kind == "documents":
        whole, splits = documents.fetch(p.data)
    elif p.data.kind == "graph":
        texts, facts, splits = graph.questions(p.data, p.seed)
    else:
        snapshot = hub.download(p.data.hub, name) if p.data.hub else None
        splits = rows.tasks(p.data, p.seed, snapshot)
    held_out = [record for kind in (texts, facts) for split in ("valid", "test") for record in kind.get(split, [])]
    pool, kept = authored.seed_tasks(SEEDS), general.tasks(p.retention)
    try:
        manifest = models.fetch(p.model)  # the slowest comes last: a mistake in the data shows at once
    except models.HubUnreachable as error:
        raise DataError(f"{error}; {hub.instead(name)}") from None
    _require_chats(manifest)

    for split, tasks in splits.items():
        records.write(RAW / f"{split}.jsonl", tasks)
    records.write(RAW / "seeds.jsonl", texts.get("train", []))
    records.write(RAW / "held_out.jsonl", held_out)  # for the trail alone
    records.write(RAW / "pool.jsonl", pool)
    records.write(RAW / "documents.jsonl", whole)
    records.write(RAW / "facts.jsonl", facts.get("train", []))
    records.write(RAW / "general.jsonl", kept)
    if snapshot:
        records.write_json(RAW / "hub.json", {**p.data.hub.model_dump(), "revision": snapshot.name})
    records.write_text(models.MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    counts = ", ".join(f"{len(tasks)} {split}" for split, tasks in splits.items())
    print(f"{manifest.model.name}: {manifest.parameters:,} parameters; rows: {counts}")


def _require_chats(manifest: models.Manifest) -> None:
    """Weights are checked by their headers; tokenizer and chat template are only known to work when they have been used."""
    folder = models.ensure(manifest)
    try:
        chat.rendering_hash(models.load_tokenizer(folder))
    except DataError:
        raise
    except Exception as error:  # tokenizers, written in Rust, and templates raise nothing more precise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: its config, tokenizer or chat template cannot be used ({reason}); mend that file") from None


if __name__ == "__main__":
    stage.run(main)
