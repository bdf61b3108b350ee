"""format: chats of every split, without train rows that overlap valid or test, and an audit of the training data."""

import sys
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from stages import figures, files, params, records, stage
from stages.errors import DataError
from stages.figures.rows import Audit
from stages.format import audit, chats, overlap, retrieval, schemas
from stages.models import sources
from stages.models.manifest import read_manifest
from stages.records import Document, Example, Task
from stages.spool import Again
from stages.text.chat import rendering_hash
from stages.text.passages import cut
from stages.text.prompts import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RAW, SYNTHETIC, REPLAY, FORMATTED = map(Path, ("data/raw", "data/synthetic", "data/replay.jsonl", "data/formatted"))
CORRECTIONS = Path("data/feedback/tasks.jsonl")


def main() -> None:
    from stages.models.tokenizer import load_tokenizer

    p = params.read(
        "seed",
        "synthesis.methods",
        "synthesis.self_qa.passage",
        "format",
        "replay.fraction",
        "predict.shots",
        "predict.max_new_tokens",
        "predict.constrain",
        "align.method",
    )
    raw = {split: Again(partial(records.read, RAW / f"{split}.jsonl", Task)) for split in ("train", "valid", "test")}
    made: dict[str, list[Task]] = {
        method: list(records.read(SYNTHETIC / method / "tasks.jsonl", Task)) for method in p.synthesis.methods
    }
    if corrected := list(records.read(CORRECTIONS, Task)):
        made["feedback"] = corrected
    possible = overlap.apart(raw["valid"], raw["test"])
    shots, valid = chats.set_apart(possible, p.format.shots, p.seed)
    kind = params.check_file().data.kind  # only for a message, so dvc.yaml does not list it
    chats.require_shots(max(p.predict.shots), shots, possible, kind)
    rows = Again(lambda: chain(raw["train"] if p.format.authored else (), *made.values()))
    held_out = Again(lambda: chain(raw["valid"], raw["test"]))
    reasons = list(overlap.reasons(rows, held_out, p.format.overlap_ngram))
    removed = {reason: reasons.count(reason) for reason in ("equal", "ngram")}
    origin = {method: len(tasks) for method, tasks in made.items()}
    origin = {"authored": len(reasons) - sum(origin.values()), **origin}
    kept = reasons.count(None)
    if not kept:
        raise DataError(
            f"format: no training rows are left of {_listed(origin)}; removed as overlapping: {_listed(removed)}; if they are "
            "not copies of validation or test rows, raise format.overlap_ngram or set it to null"
        )
    if left_out := sum(1 for _ in raw["valid"]) - len(possible):
        print(f"warning: {left_out} validation rows repeat the prompt of a test row and were left out", file=sys.stderr)
    if warned := overlap.warning(removed, len(reasons), p.format.overlap_ngram):
        print(warned, file=sys.stderr)
    protected = to_protect(rows, len(reasons), held_out, p.format.overlap_ngram)
    replayed = chats.replayed(list(records.read(REPLAY, Example)), kept, p.replay.fraction, p.seed)
    if p.replay.fraction:
        origin["replayed"] = len(replayed)
    train = (task for task, reason in zip(rows, reasons, strict=True) if reason is None)
    splits = {name: chats.examples(tasks) for name, tasks in (("train", train), ("valid", valid), ("test", raw["test"]))}
    splits["train"] = chain(splits["train"], replayed)
    if protected:
        splits["protected"] = chats.examples(protected)
    tokenizer = load_tokenizer(sources.ensure(read_manifest()))
    require_decoder(tokenizer, p.align)
    fitted, audits = audit.fit(splits, tokenizer, p.format)
    audit.warn_of_long_answers(audits, p.predict.max_new_tokens)
    asked = Again(lambda: chain(fitted["valid"], fitted["test"]))
    fields = schemas.schemas(fitted["valid"]) | schemas.schemas(fitted["train"])  # a data set may have no training rows
    schemas.require(p.predict.constrain, fields, fitted["train"], asked)
    schemas.warn(p.predict.constrain, fields, asked)
    audit.require_room(asked, shown(chats.examples(shots[: max(p.predict.shots)])), tokenizer, p.predict.max_new_tokens)

    passages = [
        passage
        for document in records.read(RAW / "documents.jsonl", Document)
        for passage in cut(document, p.synthesis.self_qa.passage)
    ]
    with_passages = retrieval.with_passages(asked, passages)

    for split in ("train", "valid", "test", "protected"):
        records.write(FORMATTED / f"{split}.jsonl", fitted.get(split, ()))
    records.write(FORMATTED / "shots.jsonl", chats.examples(shots))
    records.write(FORMATTED / "general.jsonl", chats.examples(records.read(RAW / "general.jsonl", Task)))
    records.write(FORMATTED / "passages.jsonl", with_passages)
    rendering = rendering_hash(tokenizer)
    figures.write(FORMATTED / "audit.json", Audit(splits=audits, rendering=rendering, overlap=removed, origin=origin))
    files.write_json(FORMATTED / "schemas.json", fields)
    files.write_text(FORMATTED / "trained_on.txt", audit.trained_on(islice(fitted["train"], 5), tokenizer))
    print(f"{len(fitted['train'])} training rows from {_listed(origin)}; removed as overlapping: {_listed(removed)}")
    if dropped := {split: audits[split].dropped for split in audits if audits[split].dropped}:
        print(f"dropped as longer than format.max_length = {p.format.max_length}: {_listed(dropped)}")


def require_decoder(tokenizer: "PreTrainedTokenizerBase", align: params.Align) -> None:
    """Raise DataError if the model cannot be aligned; only a fetched model says so, and the next stages train."""
    if tokenizer.encoder_decoder and align.method != "none":
        raise DataError(
            f"align.method = {align.method} with an encoder-decoder model: TRL's trainers align decoders only; use align=none "
            "or another model"
        )


def to_protect(rows: Again[Task], count: int, held_out: Again[Task], ngram: int | None) -> list[Task]:
    """Return the rows for EWC that repeat no validation or test row; `rows`, `count` of them, are those trained on."""
    given = list(records.read(RAW / "protected.jsonl", Task))
    if not given:
        return []
    together = Again(lambda: chain(rows, given))
    judged = zip(together, overlap.reasons(together, held_out, ngram), strict=True)
    kept = [task for task, reason in islice(judged, count, None) if reason is None]
    print(f"{len(kept)} rows for EWC to protect; removed as overlapping: {len(given) - len(kept)}")
    if not kept:
        raise DataError(
            f"data.mix.protect: each of the {len(given)} rows repeats a validation or test row; raise its numbers, or raise "
            "format.overlap_ngram or set it to null"
        )
    return kept


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    stage.run(main)
