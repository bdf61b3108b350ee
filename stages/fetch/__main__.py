"""fetch: the base model's manifest and the raw records of each split."""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path

from stages import files, params, records, stage
from stages.errors import DataError, reason
from stages.fetch import authored, documents, general, graph, headline, hub, mixing, recognition, rows, seeds, template
from stages.models import sources
from stages.models.manifest import MANIFEST, Manifest
from stages.records import Document, Fact, Task
from stages.spool import Again
from stages.terminal import visible
from stages.text import chat
from stages.text.prompts import answered

RAW, AUTHORED = Path("data/raw"), Path("data/authored")
SEEDS = AUTHORED / "self_instruct/seeds.jsonl"


def main() -> None:
    p = params.read("seed", "model", "data", "retention", "format.max_lost")
    for folder in (Path(p.data.path), Path(p.retention.path)):
        _refuse_links(folder)
    run = params.check_file()  # what only refuses a run or is named in a message; it changes no output
    name = run.name
    texts: dict[str, list[Document]] = {}
    facts: dict[str, list[Fact]] = {}
    whole: list[Document] = []
    protected: list[Task] = []
    splits: Mapping[str, Collection[Task]]
    pinned: dict[str, dict[str, str | None]] = {}  # data sets of the hub, with their commits
    tables: dict[str, recognition.Opened] = {}
    if p.data.kind == "complaints":
        texts, splits = authored.complaints(p.data, p.seed)
    elif p.data.kind == "documents":
        whole, splits = documents.fetch(p.data)
        texts = {"train": documents.out_of_domain(p.data)}
    elif p.data.kind == "graph":
        texts, facts, splits = graph.questions(p.data, p.seed)
    else:
        for each, part in (p.data.sets if p.data.kind == "mix" else {"": p.data}).items():
            snapshot = hub.download(part.hub, name) if part.hub else None
            tables[each] = recognition.opened(part, snapshot)
            if part.hub and snapshot:
                pinned[each] = {**part.hub.model_dump(), "revision": snapshot.name}
        if p.data.kind == "mix":
            splits, protected = mixing.tasks(p.data, p.seed, tables)
        else:
            splits = rows.tasks(p.data, p.seed, tables[""])
    headline.require(run.report.headline, run.predict.split, splits[run.predict.split])
    held_out = [record for kind in (texts, facts) for split in ("valid", "test") for record in kind.get(split, [])]
    pool, kept = seeds.seed_tasks(SEEDS), general.tasks(p.retention)
    try:
        manifest = sources.fetch(p.model)  # slowest, so last: a mistake in the data shows at once
    except sources.HubUnreachable as error:
        raise DataError(f"{error}; {hub.instead(name)}") from None
    _require_fit(manifest, splits, run)

    for split, tasks in splits.items():
        records.write(RAW / f"{split}.jsonl", tasks)
    records.write(RAW / "protected.jsonl", protected)
    records.write(RAW / "seeds.jsonl", texts.get("train", []))
    records.write(RAW / "held_out.jsonl", held_out)  # only for tunetrail trace
    records.write(RAW / "pool.jsonl", pool)
    records.write(RAW / "documents.jsonl", whole)
    records.write(RAW / "facts.jsonl", facts.get("train", []))
    records.write(RAW / "general.jsonl", kept)
    meanings = {each: table.meaning.model_dump() for each, table in tables.items()}
    for file, found in (("hub.json", pinned), ("columns.json", meanings)):
        if found:
            files.write_json(RAW / file, found.get("", found))  # of a mixture by data set
    files.write_text(MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    counts = ", ".join(f"{len(tasks)} {split}" for split, tasks in splits.items())
    print(f"{manifest.model.name}: {manifest.parameters:,} parameters; rows: {counts}")
    for table in tables.values():
        print(visible(f"{table.path}: {table.meaning}"))


def _refuse_links(folder: Path) -> None:
    """Raise DataError if a file of a folder is a pipe, or a link to one outside; documents/ leaves such links out.

    Sets of data/authored may share files with each other, as test sets share the training rows.
    """
    own = AUTHORED.resolve()
    for path in files.links_out(folder):
        shared = path.exists() and all(each.resolve().is_relative_to(own) for each in (folder, path))
        if not shared and "documents" not in path.relative_to(folder).parts[:-1]:
            raise DataError(f"{path}: a link that leads out of {folder} or nowhere; put a copy of the file there")
    for path in files.pipes(folder):
        raise DataError(f"{path}: a named pipe or a device, which is not read; put a file there")


def _require_fit(manifest: Manifest, splits: Mapping[str, Iterable[Task]], run: params.Params) -> None:
    """Raise DataError unless tokenizer and chat template work and write the rows, and the model can read and train them.

    Of the weights only headers were checked.
    """
    from stages.fetch import limits  # imports torch
    from stages.models.tokenizer import load_tokenizer

    folder, tasks = sources.ensure(manifest), Again(lambda: chain.from_iterable(splits.values()))
    try:
        tokenizer = load_tokenizer(folder)
        for name in ("pad_token", "eos_token"):
            if (id := getattr(tokenizer, f"{name}_id")) is not None and id >= (tokenizer.embeddings or id + 1):
                raise DataError(
                    f"{folder}: its {name} {getattr(tokenizer, name)!r} has the id {id}, but the model has "
                    f"{tokenizer.embeddings} tokens; name one of them in tokenizer_config.json"
                )
        chat.rendering_hash(tokenizer)
        template.require_written(tokenizer, map(answered, tasks))
        template.require_writable(tokenizer, tasks, run.format.max_lost)
        limits.require_room(tokenizer, chain(splits["valid"], splits["test"]), run.predict.max_new_tokens)
        if run.format.authored:
            limits.require_length(tokenizer, template.sample(splits["train"]), run.format)
        limits.require_decoder(tokenizer, run)
        limits.require_weights(folder, run)
    except DataError:
        raise
    except Exception as error:  # tokenizers (Rust) and templates raise nothing more precise
        raise DataError(
            f"{folder}: its config, tokenizer or chat template cannot be used ({reason(error)}); fix that file"
        ) from None


if __name__ == "__main__":
    stage.run(main)
