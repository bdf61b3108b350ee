"""train: fit one seed's adapter to formatted rows or whole documents; a killed run continues from its last checkpoint."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from stages import files, locks, params, provenance, records, stage
from stages.errors import DataError
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import Params
from stages.records import Document, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from stages.train.run import Rows

FORMATTED, FIGURES, COST = Path("data/formatted"), Path("data/training"), Path("data/cost")
DOCUMENTS, REPLAY = Path("data/raw/documents.jsonl"), Path("data/replay.jsonl")
INPUTS = [FORMATTED / "train.jsonl", FORMATTED / "valid.jsonl", DOCUMENTS, REPLAY, MANIFEST]


def main() -> None:
    from stages.models.loading import LanguageModel, load_base, open_model
    from stages.train import adapt, checkpoints, dataset, penalties, run

    seed, started = int(sys.argv[1]), time.monotonic()
    p = params.read("format.max_length", "replay.ewc_lambda", "quantization", "lora", "adapter", "train")
    runtime, manifest = params.runtime(), read_manifest()
    start = Path(p.train.start_from) if p.train.start_from else None
    whole = start if p.adapter.type in params.WHOLE else None

    def load(folder: Path, device: str):  # type: ignore[no-untyped-def]
        if whole:
            adapt.check_start(whole, folder)
        return load_base(whole or folder, device, p.quantization, p.train.precision, p.train.attn_implementation)

    base = open_model(runtime, load, manifest)
    rows = _rows(p, base.tokenizer)
    steps = run.steps(len(rows.train), p.train, runtime)
    model = adapt.attach(base.model, p.adapter, p.lora, seed, trainable=p.train.trainable, steps=steps, start_from=start)
    lm = LanguageModel(model, base.tokenizer)
    penalty = None
    if p.adapter.type == "adalora":
        penalty = penalties.orthogonality(model, p.adapter.orth_reg_weight)
    elif p.replay.ewc_lambda:
        general = dataset.tokenised(records.read(REPLAY, Example), lm.tokenizer, p.format.max_length)
        penalty = penalties.ewc(model, general, p.replay.ewc_lambda, p.train.precision)
    stored = [path for path in sorted(start.iterdir()) if path.is_file()] if start else []
    unfinished = checkpoints.folder(seed, p, runtime, [*INPUTS, *stored])
    with locks.exclusive(unfinished):  # an experiment elsewhere with the same parameters would write the same checkpoints
        result = run.train(lm, rows, p.train, runtime, seed=seed, unfinished=unfinished, penalty=penalty)
        saved = adapt.save(lm, Path("models", str(seed), "adapter"), manifest)
        figures = {"model_bytes": manifest.weight_bytes, **saved, **dataset.figures(rows.train), **asdict(result.figures)}
        files.write_json(FIGURES / f"{seed}.json", figures)
        seconds, spent = round(time.monotonic() - started, 1), asdict(result.cost)
        memory = spent.pop("memory")
        cost = {"seconds": seconds, **spent, **memory, "machine": provenance.machine(runtime)}
        files.write_json(COST / f"train_{seed}.json", cost)
        print(f"{saved['trainable_parameters']:,} of {saved['total_parameters']:,} parameters in {seconds} s")
        checkpoints.clear(unfinished)


def _rows(p: Params, tokenizer: "PreTrainedTokenizerBase") -> "Rows":
    """Return the rows for training and validation: chats, or documents, of which every twentieth is for validation."""
    from stages.train import dataset
    from stages.train.run import Rows

    max_length = p.format.max_length
    if p.train.objective == "sft":
        splits = [list(records.read(FORMATTED / f"{split}.jsonl", Example)) for split in ("train", "valid")]
        if not 500 <= len(splits[0]) <= 5000:
            print(f"advice: {len(splits[0])} training rows; 500 to 5,000 clean rows are usually advised")
        train, valid = (dataset.tokenised(examples, tokenizer, max_length) for examples in splits)
    else:
        texts = list(records.read(DOCUMENTS, Document))
        if not texts:
            raise DataError(f"{DOCUMENTS}: empty, but train.objective = continued_pretraining; choose data that has documents")
        kept = [text for place, text in enumerate(texts, start=1) if place % 20]
        train, valid = (dataset.documents(part, tokenizer, max_length) for part in (kept, texts[19::20]))
    return Rows(dataset.packed(train, tokenizer, max_length) if p.train.packing else train, valid)


if __name__ == "__main__":
    stage.run(main)
