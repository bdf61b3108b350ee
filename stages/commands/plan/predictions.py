"""Try a few tokens of a predicting system."""

from pathlib import Path

from stages import device, records
from stages.commands.plan import measures
from stages.commands.plan.machine import Probe, itemsize
from stages.generation.decoding import greedy
from stages.models.loading import open_base
from stages.models.manifest import read_manifest
from stages.params import WHOLE, Params
from stages.predict import answers, batches
from stages.records import Example
from stages.systems import ALIGNED, TUNED
from stages.text import chat
from stages.text.prompts import shots_by_dataset, with_shots


def predictions(p: Params, system: str, size: int) -> Probe:
    """Decode a few tokens; `tuned` and `aligned` answer like the references.

    Both have the base's size once their adapter is merged. After the answers of `tuned`, the model that the agreement is
    measured with is in memory too. An untuned model is expected to use all tokens it may.
    """
    libraries, memory = measures.resident(), device.Memory(device.kind(p.runtime))
    lm = open_base(p.runtime)
    opened = measures.since_start()
    examples = list(records.read(Path(f"data/formatted/{p.predict.split}.jsonl"), Example))
    shots = shots_by_dataset(system, examples)
    prompts = {e.id: chat.prompt_ids(lm.tokenizer, with_shots(e.prompt, shots[e.dataset])) for e in examples}
    examples.sort(key=lambda example: (len(prompts[example.id]), example.id))
    most = p.predict.max_new_tokens
    widths = ((row, len(prompts[e.id]) + most) for row, e in enumerate(examples))
    formed = [[examples[row] for row in batch] for batch in batches.split(widths, batches.limits(lm, size))]
    like_references = system in (TUNED, ALIGNED)
    answer = {e.id: len(chat.answer_ids(lm.tokenizer, e.messages)) for e in examples} if like_references else {}
    tokens = [min(most, max(answer.get(e.id, most) for e in batch)) for batch in formed]
    trial = measures.decoded(lm, [[prompts[e.id] for e in batch] for batch in formed], tokens, most, greedy)
    wanted, middle = examples[: p.predict.likelihood_rows], formed[(len(formed) - 1) // 2]
    some = wanted[: len(middle)]
    scoring = measures.seconds(lambda: answers.references(lm, some, [prompts[e.id] for e in some], size)) / max(1, len(some))
    choosing = measures.seconds(lambda: [answers.choices(lm, e, prompts[e.id]) for e in middle[:4]]) / len(middle[:4])
    second = _second(p) if system == TUNED and p.predict.agreement_rows else 0
    return Probe(
        parameters=read_manifest().parameters,
        trained=0,
        libraries=libraries,
        weights=sum(weight.nbytes for weight in lm.model.parameters()) + second,
        training=0,
        peak=memory.peak() + second + trial.further,
        rows=max(map(len, formed[-2:])),
        seconds=opened + trial.seconds + scoring * len(wanted) + choosing * len(examples),
        units=trial.tokens,
        unit_seconds=trial.token,
    )


def _second(p: Params) -> int:
    """Return the bytes of the model that the agreement is measured with: its file, which is mapped while read, and its weights.

    A whole model is stored in fp32. Weights count as if none were quantized: some are not yet when the peak is reached.
    """
    stored, held = 4 if p.adapter.type in WHOLE else 2, itemsize(device.kind(p.runtime))
    return (stored + held) * read_manifest().parameters
