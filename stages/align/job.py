"""What an alignment is made from: options, train's adapter, pairs, rows, and the place of its checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages import records
from stages.align import checkpoint, looks
from stages.errors import DataError
from stages.files import read_json
from stages.models.manifest import MANIFEST, Manifest, read_manifest
from stages.params import Alignment, Answering, Grpo, Params, Preference, Quantization, Runtime
from stages.records import Example

FORMATTED, MODELS, PAIRS = Path("data/formatted"), Path("models"), Path("data/pairs")


@dataclass(frozen=True)
class Job:
    """What an alignment is made from. `options` are those of its method.

    `adapter` and `pairs` are the folders that train and pairs wrote for the seed. `settings` are those of the stage pairs, None
    if it made none. `valid` are the rows of looks, and `limit` is the longest answer to them in tokens.
    """

    options: Any
    quantization: Quantization
    runtime: Runtime
    manifest: Manifest
    seed: int
    adapter: Path
    pairs: Path
    settings: Preference | None
    train: Path
    valid: Sequence[Example]
    limit: int
    unfinished: Path


def read(p: Params, runtime: Runtime, seed: int) -> Job:
    """Return what the seed's alignment is made from; raise DataError if the method needs pairs and there are none."""
    assert isinstance(p.align, Alignment)
    adapter, pairs, manifest = MODELS / str(seed) / "adapter", PAIRS / str(seed), read_manifest()
    train, valid = FORMATTED / "train.jsonl", FORMATTED / "valid.jsonl"
    settings = _settings(pairs / "settings.json")
    count = p.align.eval_rows if isinstance(p.align, Answering) else 0  # a reward model answers nothing
    folders = [adapter, pairs, Path(p.align.reward_model)]
    return Job(
        options=p.align,
        quantization=p.quantization,
        runtime=runtime,
        manifest=manifest,
        seed=seed,
        adapter=adapter,
        pairs=pairs,
        settings=settings,
        train=train,
        valid=looks.validation(list(records.read(valid, Example)), count),
        limit=_limit(p.align, settings, pairs),
        unfinished=checkpoint.folder(seed, p, runtime, folders, [train, valid, MANIFEST]),
    )


def _settings(path: Path) -> Preference | None:
    found = read_json(path)
    return Preference.model_validate(found["preference"]) if found else None


def _limit(options: Alignment, settings: Preference | None, pairs: Path) -> int:
    """Return the longest answer to a validation row: as long as those that the model learns from."""
    if isinstance(options, Grpo):
        return options.max_completion_length
    if settings is None:
        raise DataError(f"{pairs}: holds no pairs; set preference.sources=[verifier]")
    return settings.sampling.max_new_tokens
