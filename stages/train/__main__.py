"""train: one seed's adapter, from the formatted rows; a killed run goes on from its last checkpoint."""

import sys
import time
from pathlib import Path

from stages import models, params, provenance, records, stage
from stages.records import Example
from stages.train import adapt, checkpoints, dataset, trainer

FORMATTED, MODELS, COST = Path("data/formatted"), Path("models"), Path("data/cost")


def main() -> None:
    seed, started = int(sys.argv[1]), time.monotonic()
    p, runtime = params.read("format.max_length", "quantization", "lora", "adapter", "train"), params.runtime()
    provenance.prepare(runtime)
    manifest = models.read_manifest()
    weights = models.ensure(manifest)
    tokenizer = models.load_tokenizer(weights)
    train = dataset.tokenised(records.read(FORMATTED / "train.jsonl", Example), tokenizer, p.max_length)
    valid = dataset.tokenised(records.read(FORMATTED / "valid.jsonl", Example), tokenizer, p.max_length)

    base = models.load_base(
        weights, provenance.device(runtime), p.quantization, p.train.precision, attention=p.train.attn_implementation
    )
    model = adapt.attach(base, p.adapter, p.lora, seed)
    unfinished = checkpoints.folder(seed, p, runtime, [FORMATTED / "train.jsonl", FORMATTED / "valid.jsonl", models.MANIFEST])
    run = trainer.train(model, tokenizer, train, valid, p.train, runtime, seed, unfinished)

    saved = adapt.save(model, tokenizer, MODELS / str(seed) / "adapter", manifest)
    figures = {"model_bytes": manifest.weight_bytes, **saved, **dataset.figures(train), **run.figures}
    records.write_json(MODELS / str(seed) / "training.json", figures)
    cost = {"seconds": round(time.monotonic() - started, 1), **run.cost, "machine": provenance.machine(runtime)}
    records.write_json(COST / f"train_{seed}.json", cost)
    print(f"{saved['trainable_parameters']:,} of {saved['total_parameters']:,} parameters in {cost['seconds']} s")
    checkpoints.clear(unfinished)


if __name__ == "__main__":
    stage.run(main)
