"""`tunetrail keep`: a copy of a trained adapter that DVC tracks, with a card of where it comes from, to start training from."""

from pathlib import Path

from stages import files, locks, params
from stages.commands import adapters, clone, outputs
from stages.errors import DataError
from stages.models import stored
from stages.models.manifest import MANIFEST, read_manifest
from stages.params.aligning import REWARD_CARD

WRITERS = {
    "adapter": "dvc repro",
    "pretrained": "dvc exp run -S experiment=handbook -S pretrain=documents",
    "aligned": "dvc exp run -S preference=verifier -S align=dpo",
}


def keep(name: str, seed: int | None, what: str) -> None:
    """Copy what a stage stored for a seed (by default the first one) to adapters/<name>, and let DVC track the copy."""
    clone.refuse_running()
    p, target = params.read("name", "seeds"), adapters.target_of(name)
    seed = p.seeds[0] if seed is None else seed
    source, card = Path("models", str(seed), what), Path("reports", p.name, adapters.MODEL_CARD)
    if not stored.holds(source):
        raise DataError(f"{source}: holds no adapter or model; run `{WRITERS[what]}` first, or choose another --seed or --what")
    outputs.require(MANIFEST)
    with locks.exclusive(target), files.unchanged(params.PARAMS, MANIFEST, source, card):
        held = adapters.hashes(source)
        is_new = not _is_kept(target, held)
        if is_new:
            if what != "pretrained":
                outputs.require_of_run(card)
            made = adapters.card(p.name, seed, what, held, adapters.base_of(read_manifest()))
            adapters.store(source, target, made, None if what == "pretrained" else card)
        adapters.track(target, is_new)
    pointer = f"{target}.dvc"
    use = f"`dvc exp run -S train.start_from={target}` continues from it"
    if (target / REWARD_CARD).is_file():
        use = f"`dvc exp run -S align=grpo -S align.reward_model={target} -S align.rewards.reward_model=1.0` uses it"
    print(
        f"{target}: {'stored' if is_new else 'already stored'}; `git add {pointer}`, commit, and `dvc push {pointer}` to share "
        f"it; {use}"
    )


def _is_kept(target: Path, held: dict[str, str]) -> bool:
    """Return whether the copy is there already; raise DataError if the name is taken by another one."""
    if target.exists() and adapters.hashes(target) != held:
        raise DataError(f"{target}: holds other content; choose another name")
    if not target.exists() and (how := files.how_to_pull(target)):
        raise DataError(f"{target}.dvc: the name is taken by a copy that is not here; choose another name, or {how}")
    return target.exists()
