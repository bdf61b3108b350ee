"""predict: one system's answers to the rows of the chosen split; `base_3shot`, `base_passage` and `tuned_42` are systems."""

import sys
import time
from pathlib import Path

from stages import models, params, provenance, records, stage
from stages.predict import answers
from stages.records import Example

FORMATTED, PREDICTIONS, AGREEMENT, COST = map(Path, ("data/formatted", "data/predictions", "data/agreement", "data/cost"))


def main() -> None:
    system, started = sys.argv[1], time.monotonic()
    tuned, passage = system.startswith("tuned_"), system == "base_passage"
    if passage:
        wanted = params.read("predict.passage")
        if not wanted.passage:
            records.write(PREDICTIONS / f"{system}.jsonl", [])
            records.write_json(COST / f"predict_{system}.json", {})
            return
    p = params.read("predict.split", "predict.batch_size", "predict.max_new_tokens", "predict.likelihood_rows")
    runtime = params.runtime()
    provenance.prepare(runtime)
    weights, device = models.ensure(models.read_manifest()), provenance.device(runtime)
    tokenizer = models.load_tokenizer(weights)
    examples = list(records.read(FORMATTED / f"{p.split}.jsonl", Example))
    if passage:
        examples = answers.with_passages(examples, list(records.read(FORMATTED / "passages.jsonl", Example)))
    adapter = Path("models") / system.removeprefix("tuned_") / "adapter"
    model = models.load_tuned(weights, adapter, device) if tuned else models.load_base(weights, device)

    predictions = answers.predict(
        model, tokenizer, examples, answers.shots_of(system), system, p.batch_size, p.max_new_tokens, p.likelihood_rows
    )
    if passage:
        predictions = answers.to_the_question(predictions, examples)
    records.write(PREDICTIONS / f"{system}.jsonl", predictions)
    seconds = time.monotonic() - started
    if tuned:
        a = params.read("quantization", "predict.agreement_rows")
        four_bit = models.load_tuned(weights, adapter, device, a.quantization, merge=False)
        agreed = answers.agreement(four_bit, tokenizer, examples[: a.agreement_rows], predictions)
        records.write_json(AGREEMENT / f"{system}.json", {**agreed, "quantization": a.quantization.type})
    cost = answers.cost(predictions, seconds)
    records.write_json(COST / f"predict_{system}.json", {**cost, "machine": provenance.machine(runtime)})
    print(f"{system}: {cost['rows']} answers in {cost['seconds']} s, {cost['new_tokens_per_second']} tokens/s")


if __name__ == "__main__":
    stage.run(main)
