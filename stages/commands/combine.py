"""`tunetrail combine`: one adapter of several kept ones, stored like them."""

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path

from pydantic import ValidationError

from stages import files, locks, params
from stages.commands import adapters, clone, outputs
from stages.commands.adapters import CARD, Base, Card, Combination
from stages.errors import DataError
from stages.models.manifest import MANIFEST, Manifest, read_manifest
from stages.models.plain import PRUNING, Way, uncombinable
from stages.models.stored import adapter_config
from stages.records import first_problem

SHARED = ("layers_to_transform", "layers_pattern", "exclude_modules", "fan_in_fan_out", "task_type")  # taken from the first


def combine(
    folders: Sequence[Path],
    name: str,
    method: str,
    weights: Sequence[float] | None,
    density: float | None,
    seed: int | None,
) -> None:
    """Combine kept adapters into adapters/<name>, and let DVC track it.

    Without weights, `cat` and `svd` give the mean. The other methods take a mean themselves, so each weight is 1. `density` is
    the share of values that they keep; `seed` decides which DARE keeps, by default that of params.yaml.
    """
    clone.refuse_running()
    p, target = params.read("name", "seed"), adapters.target_of(name)
    if target.exists() or files.how_to_pull(target):
        raise DataError(f"{target}: exists; choose another name")
    folders = [_in_clone(folder) for folder in folders]
    if twice := [folder for folder in folders if list(folders).count(folder) > 1]:
        raise DataError(f"{twice[0]}: named twice; give it a larger weight")
    way = _way(method, len(folders), weights, density, p.seed if seed is None else seed)
    outputs.require(MANIFEST)
    with locks.exclusive(target), files.unchanged(MANIFEST, *folders):
        manifest = read_manifest()
        cards = {folder: _card(folder, adapters.base_of(manifest)) for folder in folders}
        _require_alike(folders)
        of = Combination(
            method=method,
            weights={str(folder): weight for folder, weight in zip(folders, way.weights, strict=True)},
            contents={str(folder): found.content for folder, found in cards.items()},
            density=density,
        )
        with tempfile.TemporaryDirectory() as work:
            made = Path(work, "adapter")
            trained = _write(made, folders, way, manifest)
            held = adapters.hashes(made)
            card = adapters.card(p.name, way.seed, "combined", held, adapters.base_of(manifest), combined=of)
            adapters.store(made, target, card, None)
        adapters.track(target, is_new=True)
    use = f"`dvc exp run -S 'predict.kept=[{name}]'` evaluates it"
    if target.parent != adapters.ADAPTERS:
        use = f"`tunetrail predict --adapter {target}` answers with it"
    rank, size = adapter_config(target)["r"], trained["adapter_bytes"]
    print(f"{target}: rank {rank}, {size:,} bytes, of {len(folders)} by {method}; `git add {target}.dvc` and commit; {use}")


def _in_clone(folder: Path) -> Path:
    """Return a folder of the clone relative to it: the card must not depend on how it was named, or where the clone is."""
    whole, root = folder.resolve(), Path().resolve()
    return whole.relative_to(root) if whole.is_relative_to(root) else folder


def _card(folder: Path, base: Base) -> Card:
    """Return the card of a kept adapter; raise DataError unless its files are those of the card, of this base, combinable."""
    if not folder.is_dir():
        how = files.how_to_pull(folder) or "`tunetrail keep NAME` stores an adapter in adapters/NAME"
        raise DataError(f"{folder}: no such folder; {how}")
    if not (folder / CARD).is_file():
        how = "`tunetrail keep NAME` stores an adapter in adapters/NAME with one"
        raise DataError(f"{folder}: has no {CARD}, so it is not a kept adapter; {how}")
    try:
        card = Card.model_validate(files.read_json(folder / CARD))
    except ValidationError as error:
        raise DataError(f"{folder / CARD}: {first_problem(error)}; keep the adapter again") from None
    if card.base.weights != base.weights:
        raise DataError(f"{folder}: belongs to another base than {MANIFEST}, {card.base.name}; choose adapters of one base")
    if adapters.hashes(folder) != card.files:
        raise DataError(f"{folder}: its files are not those of its {CARD}; keep it again")
    if not (folder / "adapter_config.json").is_file():
        raise DataError(f"{folder}: a whole model, which cannot be combined; name adapters of LoRA")
    if why := uncombinable(adapter_config(folder)):
        raise DataError(f"{folder}: has {why}, which cannot be combined; name plain adapters of LoRA")
    return card


def _require_alike(folders: Sequence[Path]) -> None:
    """Raise DataError if PEFT would leave out layers: the new one has the modules of all, other options of the first."""
    for one, other in pairwise(folders):
        ours, theirs = adapter_config(one), adapter_config(other)
        if unlike := [key for key in SHARED if (ours.get(key) or None) != (theirs.get(key) or None)]:
            raise DataError(
                f"{other}: has another {unlike[0]} than {one}, so layers would be left out; combine adapters of the same layers"
            )


def _way(method: str, count: int, weights: Sequence[float] | None, density: float | None, seed: int) -> Way:
    """Return the method with its options; raise DataError for options that do not fit it."""
    if count == 1 and method != "cat":
        raise DataError(f"--method {method}: needs at least 2 adapters; name more, or use --method cat")
    if weights is None:
        weights = [1.0 if method in PRUNING else 1 / count] * count
    if len(weights) != count:
        raise DataError(f"--weights: {len(weights)} for {count} adapters; give one for each, separated by commas")
    if wrong := [weight for weight in weights if not isfinite(weight) or weight == 0]:
        raise DataError(f"--weights: {wrong[0]:g}; give finite numbers other than 0, or leave that adapter out")
    if (density is None) == (method in PRUNING):
        what = "needs --density, the share of values to keep" if density is None else "keeps all values; leave out --density"
        raise DataError(f"--method {method}: {what}")
    return Way(method, weights, density, seed)


def _write(folder: Path, folders: Sequence[Path], way: Way, manifest: Manifest) -> dict[str, int]:
    """Write the combination, on the CPU, so that the same adapters give the same bytes on every machine of a kind."""
    from stages import device
    from stages.models.combining import combined
    from stages.models.loading import LanguageModel, load_base
    from stages.models.sources import ensure
    from stages.models.tokenizer import load_tokenizer
    from stages.training import adapt

    device.prepare(params.runtime())
    weights = ensure(manifest)
    base = load_base(weights, "cpu", precision="fp32")  # on one in bf16, PEFT would round the new matrices to bf16
    return adapt.save(LanguageModel(combined(base, folders, way), load_tokenizer(weights)), folder, manifest)
