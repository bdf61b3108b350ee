"""predict: let one system, e.g. `base_3shot`, `tuned_42`, `tuned_42_passage` or `aligned_42`, answer the chosen split."""

import sys
import time
from pathlib import Path

from stages import figures, files, params, records, stage, systems
from stages.records import Example
from stages.text.prompts import shots_by_dataset

FORMATTED, PREDICTIONS, AGREEMENT, COST = map(Path, ("data/formatted", "data/predictions", "data/agreement", "data/cost"))


def main() -> None:
    system, started = sys.argv[1], time.monotonic()
    tuned, passage, aligned = systems.is_tuned(system), system.endswith(systems.PASSAGE), systems.is_aligned(system)
    wanted = True
    if passage:
        wanted = params.read("predict.passage").predict.passage
    if aligned:
        wanted = params.read("align.method").align.method in systems.ANSWERING
    if not wanted:
        records.write(PREDICTIONS / f"{system}.jsonl", [])
        files.write_json(COST / f"predict_{system}.json", {})
        return
    from stages import device, provenance
    from stages.models.stored import adapter_of
    from stages.models.tuned import open_system, open_tuned
    from stages.predict import answers

    p = params.read(
        "predict.split", "predict.batch_size", "predict.max_new_tokens", "predict.constrain", "predict.likelihood_rows"
    )
    runtime = params.runtime()
    examples = list(records.read(FORMATTED / f"{p.predict.split}.jsonl", Example))
    if passage:
        examples = answers.with_passages(examples, list(records.read(FORMATTED / "passages.jsonl", Example)))
    memory = device.Memory(device.kind(runtime))
    lm = open_system(runtime, system.removesuffix(systems.PASSAGE))

    predictions = answers.predict(
        lm,
        examples,
        shots_by_dataset(system, examples),
        system,
        batch_size=p.predict.batch_size,
        max_new_tokens=p.predict.max_new_tokens,
        likelihood_rows=p.predict.likelihood_rows,
        schemas={} if p.predict.constrain == "none" else files.read_json(FORMATTED / "schemas.json"),
        copied=p.predict.constrain == "copied",
    )
    if passage:
        predictions = answers.to_the_question(predictions, examples)
    records.write(PREDICTIONS / f"{system}.jsonl", predictions)
    seconds, peak = time.monotonic() - started, memory.figures()["memory_peak_gib"]
    if tuned:
        a = params.read("quantization", "predict.agreement_rows")
        quantized = open_tuned(runtime, adapter_of(system), a.quantization, merge=False)
        agreed = answers.agreement(quantized, examples[: a.predict.agreement_rows], predictions, a.quantization.type)
        figures.write(AGREEMENT / f"{system}.json", agreed)
    cost = answers.cost(predictions, seconds, peak, provenance.machine(runtime))
    figures.write(COST / f"predict_{system}.json", cost)
    print(f"{system}: {cost.rows} answers in {cost.seconds} s, {cost.new_tokens_per_second} tokens/s")


if __name__ == "__main__":
    stage.run(main)
