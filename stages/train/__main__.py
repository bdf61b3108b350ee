"""train: one seed's adapter, from the formatted rows or whole documents; a killed run goes on from its last checkpoint."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from stages import models, params, provenance, records, stage
from stages.records import DataError, Document, Example
from stages.train import adapt, checkpoints, dataset, penalties, trainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

FORMATTED, MODELS, COST = Path("data/formatted"), Path("models"), Path("data/cost")
DOCUMENTS, REPLAY = Path("data/raw/documents.jsonl"), Path("data/replay.jsonl")
INPUTS = [FORMATTED / "train.jsonl", FORMATTED / "valid.jsonl", DOCUMENTS, REPLAY, models.MANIFEST]


def main() -> None:
    seed, started = int(sys.argv[1]), time.monotonic()
    p = params.read("format.max_length", "replay.ewc_lambda", "quantization", "lora", "adapter", "train")
    runtime = params.runtime()
    provenance.prepare(runtime)
    manifest = models.read_manifest()
    weights = models.ensure(manifest)
    tokenizer = models.load_tokenizer(weights)
    train, valid = _rows(p, tokenizer)

    start = Path(p.train.start_from) if p.train.start_from else None
    whole = start if p.adapter.type in params.WHOLE else None
    if whole:
        adapt.check_start(whole, weights)
    base = models.load_base(
        whole or weights,
        provenance.device(runtime),
        p.quantization,
        p.train.precision,
        attention=p.train.attn_implementation,
    )
    steps = trainer.steps(len(train), p.train, runtime)
    model = adapt.attach(base, p.adapter, p.lora, seed, trainable=p.train.trainable, steps=steps, start_from=start)
    penalty = None
    if p.adapter.type == "adalora":
        penalty = penalties.orthogonality(model, p.adapter.orth_reg_weight)
    elif p.ewc_lambda:
        general = dataset.tokenised(records.read(REPLAY, Example), tokenizer, p.max_length)
        penalty = penalties.ewc(model, general, p.ewc_lambda, p.train.precision)
    unfinished = checkpoints.folder(
        seed, p, runtime, INPUTS + ([path for path in sorted(start.iterdir()) if path.is_file()] if start else [])
    )
    run = trainer.train(model, tokenizer, train, valid, p.train, runtime, seed, unfinished, penalty)

    saved = adapt.save(model, tokenizer, MODELS / str(seed) / "adapter", manifest)
    figures = {"model_bytes": manifest.weight_bytes, **saved, **dataset.figures(train), **run.figures}
    records.write_json(MODELS / str(seed) / "training.json", figures)
    cost = {"seconds": round(time.monotonic() - started, 1), **run.cost, "machine": provenance.machine(runtime)}
    records.write_json(COST / f"train_{seed}.json", cost)
    print(f"{saved['trainable_parameters']:,} of {saved['total_parameters']:,} parameters in {cost['seconds']} s")
    checkpoints.clear(unfinished)


def _rows(p: SimpleNamespace, tokenizer: "PreTrainedTokenizerBase") -> tuple["Dataset", "Dataset"]:
    """What is trained on and what is validated with: chats, or documents of which every twentieth is kept apart."""
    if p.train.objective == "sft":
        splits = [list(records.read(FORMATTED / f"{split}.jsonl", Example)) for split in ("train", "valid")]
        if not 500 <= len(splits[0]) <= 5000:
            print(f"advice: {len(splits[0])} rows to train on; the sources advise 500 to 5,000 clean ones")
        train, valid = (dataset.tokenised(examples, tokenizer, p.max_length) for examples in splits)
    else:
        texts = list(records.read(DOCUMENTS, Document))
        if not texts:
            raise DataError(f"{DOCUMENTS}: empty, but train.objective = continued_pretraining; choose data that has documents")
        kept = [text for place, text in enumerate(texts, start=1) if place % 20]
        train, valid = (dataset.documents(part, tokenizer, p.max_length) for part in (kept, texts[19::20]))
    return dataset.packed(train, tokenizer, p.max_length) if p.train.packing else train, valid


if __name__ == "__main__":
    stage.run(main)
