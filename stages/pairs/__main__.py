"""pairs: make pairs of a better and a worse answer to training prompts, for one seed's tuned model."""

import sys
import time
from itertools import chain
from pathlib import Path

from stages import figures, files, params, records, stage
from stages.errors import DataError
from stages.figures.preferences import PreferencesCost
from stages.records import Example

FORMATTED, MODELS, PAIRS, COST = map(Path, ("data/formatted", "models", "data/pairs", "data/cost"))
LISTS = ("samples", "verdicts", "pairs", "votes", "calls")


def main() -> None:
    seed, started = int(sys.argv[1]), time.monotonic()
    p, runtime = params.read("teacher", "synthesis.budget", "quantization", "preference"), params.runtime()
    folder, adapter = PAIRS / str(seed), MODELS / str(seed) / "adapter"
    if not p.preference.wanted:
        with files.whole_folder(folder) as part:
            for name in LISTS:
                records.write(part / f"{name}.jsonl", [])
            for name in ("funnel", "settings"):
                files.write_json(part / f"{name}.json", {})
        files.write_json(COST / f"pairs_{seed}.json", {})
        return
    from stages import device, provenance
    from stages.models.tuned import open_tuned
    from stages.pairs import sources
    from stages.preferences import making, reference

    memory = device.Memory(device.kind(runtime))
    train, *others = (records.read(FORMATTED / f"{split}.jsonl", Example) for split in ("train", "valid", "test"))
    kept_apart = chain.from_iterable(others)
    found = sources.find(p.preference, list(train), kept_apart, adapter, p.teacher, p.synthesis.budget, runtime, seed)
    opened = time.monotonic()
    lm = open_tuned(runtime, adapter, p.quantization, merge=False)
    fitting = {name: reference.fitting(lm.tokenizer, made) for name, made in found.made.items()}
    joint = making.joined(fitting, p.preference.held_out)
    if reason := making.nothing_left(joint):
        raise DataError(reason)
    joint, tokens = reference.measured(lm, joint)
    counts = making.funnel(found.samples, found.no_prompts, joint, tokens, found.judged, found.rated)

    with files.whole_folder(folder) as part:
        records.write(part / "samples.jsonl", {s.id: s for s in [*found.samples, *found.rated_answers]}.values())
        records.write(part / "verdicts.jsonl", chain.from_iterable(made.verdicts for made in found.made.values()))
        records.write(part / "pairs.jsonl", making.pairs(joint))
        records.write(part / "votes.jsonl", making.votes(joint))
        records.write(part / "calls.jsonl", found.calls)
        figures.write(part / "funnel.json", counts)
        files.write_json(part / "settings.json", {"seed": seed, "preference": p.preference.model_dump()})
    ended = time.monotonic()
    cost = PreferencesCost(
        seconds=round(found.earlier_seconds + ended - started, 1),
        sampling_seconds=round(found.sampling_seconds, 1),
        reference_seconds=round(ended - opened, 1),
        memory_peak_gib=memory.figures()["memory_peak_gib"],
        new_tokens=sum(sample.new_tokens for sample in found.samples),
        teacher=found.teacher_cost,
        machine=provenance.machine(runtime),
    )
    figures.write(COST / f"pairs_{seed}.json", cost)
    print(f"seed {seed}: {making.summary(counts)}")


if __name__ == "__main__":
    stage.run(main)
