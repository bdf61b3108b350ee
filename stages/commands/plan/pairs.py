"""Try what the stage pairs does: sample a few tokens of some answers, and score some by the reference."""

import tempfile
from pathlib import Path

from stages import device
from stages.commands.plan import after, measures
from stages.commands.plan.machine import Probe
from stages.models.loading import open_base
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
    settings, seed = p.preference.model_copy(update={"batch_size": size}), p.seeds[0]
    expected = after.expected(p, seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "adapter"
        making = 0.0 if whole else measures.seconds(lambda: after.store_adapter(p, p.runtime, folder))
        trial, room = measures.Decoded(0.0, 0, 0.0, 0), 0
        weights = 0
        if expected.prompts:
            lm = open_base(p.runtime) if whole else open_tuned(p.runtime, folder)
            opened = measures.since_start() - making
            trial = after.sampled(lm, expected.prompts, settings, seed)
            room, weights = memory.peak() + trial.further, sum(weight.nbytes for weight in lm.model.parameters())
            del lm  # as the stage does
        else:
            opened = measures.since_start() - making
        loading = measures.since_start()
        lm = open_base(p.runtime) if whole else open_tuned(p.runtime, folder, p.quantization, merge=False)
        loading = measures.since_start() - loading
    answers = [*after.of_pairs(expected.pairs), *map(reference.voted, expected.votes)]
    scoring = after.scored(lm, answers)
    batches = -(-len(answers) // reference.ROWS)
    return Probe(
        parameters=read_manifest().parameters,
        trained=0,
        libraries=libraries,
        weights=max(weights, sum(weight.nbytes for weight in lm.model.parameters())),
        training=0,
        peak=max(room, memory.peak()),
        rows=size if expected.prompts else reference.ROWS,
        seconds=opened + trial.seconds + loading + scoring * len(answers),
        units=trial.tokens if expected.prompts else batches,
        unit_seconds=trial.token if expected.prompts else scoring * reference.ROWS,
    )
