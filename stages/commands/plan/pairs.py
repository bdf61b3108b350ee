"""Try what the stage pairs does: sample a few tokens of some answers, and score some by the reference."""

import tempfile
from pathlib import Path

from stages import device
from stages.commands.plan import after, measures
from stages.commands.plan.machine import Probe
from stages.models.loading import LanguageModel, open_base
from stages.models.manifest import read_manifest
from stages.models.tuned import open_tuned
from stages.params import WHOLE, Params
from stages.preferences import reference


def pairs(p: Params, size: int) -> Probe:
    """Sample with a fresh adapter in batches of `size` rows; samples are expected to be as long as the references.

    The steps are those of the stage: the adapter is merged for samples, and separate, on the base in the quantization of
    training, for the reference. A model whose own weights are trained has the base's size. What a judge takes is left out.
    """
    libraries, memory, whole = measures.resident(), device.Memory(device.kind(p.runtime)), p.adapter.type in WHOLE
    settings, expected = p.preference.model_copy(update={"batch_size": size}), after.expected(p, p.seeds[0])
    trial, need, weights = measures.Decoded(0.0, 0, 0.0, 0), 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "adapter"
        not_counted = 0.0 if whole else measures.seconds(lambda: after.store_adapter(p, p.runtime, folder))
        if expected.prompts:
            lm = open_base(p.runtime) if whole else open_tuned(p.runtime, folder)
            opened = measures.since_start()
            trial = after.sampled(lm, expected.prompts, settings, p.seeds[0])
            not_counted += measures.since_start() - opened
            need, weights = memory.peak() + trial.further, _bytes(lm)
            del lm  # as the stage does
        lm = open_base(p.runtime) if whole else open_tuned(p.runtime, folder, p.quantization, merge=False)
        opening = measures.since_start() - not_counted
    answers = [*after.of_pairs(expected.pairs), *map(reference.voted, expected.votes)]
    scoring = after.scored(lm, answers)
    batches = -(-len(answers) // reference.ROWS)
    return Probe(
        parameters=read_manifest().parameters,
        trained=0,
        libraries=libraries,
        weights=max(weights, _bytes(lm)),
        training=0,
        peak=max(need, memory.peak()),
        rows=size if expected.prompts else reference.ROWS,
        seconds=opening + trial.seconds + scoring * len(answers),
        units=trial.tokens if expected.prompts else batches,
        unit_seconds=trial.token if expected.prompts else scoring * reference.ROWS,
    )


def _bytes(lm: LanguageModel) -> int:
    return sum(weight.nbytes for weight in lm.model.parameters())
