"""validate: report every mistake in params.yaml before DVC touches an output, then advice and differences from conf/."""

import os
from pathlib import Path

from stages import files, params, stage
from stages.errors import DataError
from stages.models import stored
from stages.models.manifest import parameters
from stages.models.stored import adapter_config
from stages.params import compose
from stages.params.aligning import REWARD_CARD
from stages.terminal import visible

MOST = 5  # more differences from conf/ are summed up in one warning


def main() -> None:
    checked = params.check_file()
    _require_sources(checked)
    _require_start(checked.train, whole=checked.adapter.type in params.WHOLE)
    _require_reward_model(checked.align)
    _require_pairs(checked.preference)
    _require_kept(checked.predict.kept)
    _require_device(checked.runtime)
    for line in checked.advice():
        print(visible(f"advice: {line}"))
    for line in _unread(checked):
        print(visible(f"warning: {line}"))
    if "DVC_EXP_NAME" not in os.environ:  # an experiment differs from conf/ on purpose
        for line in _summarised(compose.differences()):
            print(visible(f"warning: {line}"))
    files.write_text(Path("data/validated.txt"), "params.yaml is valid\n")


def _require_sources(checked: params.Params) -> None:
    """Raise DataError for missing sources; DVC itself would not name the parameter that refers to them."""
    named = {"data.path": checked.data.path, "retention.path": checked.retention.path}
    named["train.start_from"] = checked.train.start_from
    named |= {"preference.sheets": checked.preference.sheets, "preference.file": checked.preference.file}
    named |= {"feedback.path": checked.feedback.path, "feedback.log": checked.feedback.log}
    named |= {f"predict.kept[{n}]": str(params.NOTHING.parent / name) for n, name in enumerate(checked.predict.kept)}
    named["align.reward_model"] = checked.align.reward_model
    parts = {"data": checked.data} if checked.data.kind == "rows" else {}
    if checked.data.kind == "mix":
        parts = {f"data.sets.{name}": part for name, part in checked.data.sets.items()}
    for key, part in parts.items():
        if not part.hub:
            named[f"{key}.path"] = part.path
        if not part.hub and part.splits and Path(part.path).exists():
            named |= {f"{key}.splits.{split}": str(Path(part.path) / name) for split, name in part.splits if name}
    if lacking := [f"{key}: {line}" for key, path in named.items() if (line := _lacking(key, Path(path)))]:
        raise DataError("\n".join(lacking))


def _lacking(key: str, path: Path) -> str:
    """Return what is wrong with a source, empty if nothing.

    With --queue and --temp, DVC runs in a copy of what git and DVC track; DVC_ROOT is the clone where it was started.
    """
    clone = Path(os.environ.get("DVC_ROOT", "."))
    elsewhere = clone.resolve() != Path.cwd().resolve() and not path.is_absolute()
    if elsewhere and (lost := sorted(_files(clone, path) - _files(Path(), path))):
        first = lost[0]
        own = [place for place in (first, *first.parents) if (clone / f"{place}.dvc").is_file()]
        own += [path] if path.is_relative_to("data/own") else []
        how = f"`dvc add {own[0]}`, then `git add {own[0]}.dvc`" if own else f"`git add {first}`"
        which = f"and {len(lost) - 1} more are" if lost[1:] else "is"
        return f"{first}: {which} not in git, and with --queue or --temp DVC sees only what is; run {how}"
    how = " or ".join(filter(None, (files.how_to_pull(path), f"set {key}")))
    return "" if path.exists() else f"{path}: no such file or folder; {how}"


def _files(root: Path, place: Path) -> set[Path]:
    """Return the files of a place in `root`, a file or a folder, relative to `root` and without hidden ones."""
    paths = (root / place).rglob("*") if (root / place).is_dir() else [root / place]
    files = {path.relative_to(root) for path in paths if path.is_file()}
    return {path for path in files if not any(part.startswith(".") for part in path.parts)}


def _require_start(train: params.Train, whole: bool) -> None:
    """Raise DataError unless training can continue from the folder: a whole model or an adapter, as adapter.type needs.

    An adapter of LoftQ is refused: it belongs to a rounded base, and its successor would no longer record which.
    """
    folder, start_from = train.start, train.start_from
    if not folder:
        if stored.holds(params.NOTHING):
            raise DataError(f"{params.NOTHING}: holds a model, but the name means to start from nothing; give it another name")
        return
    if (folder / REWARD_CARD).is_file():
        raise DataError(f"train.start_from = {start_from}: is a reward model, which writes no text; name another adapter")
    wanted = "config.json" if whole else "adapter_config.json"
    if not (folder / wanted).is_file():
        what = "a whole model" if whole else "an adapter; to train an adapter on a whole model, use model=path"
        raise DataError(f"train.start_from = {start_from}: has no {wanted}, so it is not {what}")
    parameters(folder)
    if whole:
        stored.check_whole(folder, f"train.start_from = {start_from}")
    elif adapter_config(folder).get("loftq_config"):
        raise DataError(
            f"train.start_from = {start_from}: was trained with lora.init=loftq; continue from one with lora.init=default"
        )


def _require_reward_model(align: params.Align) -> None:
    """Raise DataError if rewards come from a folder without a reward model; without this it is found out after `train`."""
    if align.method == "grpo" and align.rewards.reward_model and not (Path(align.reward_model) / REWARD_CARD).is_file():
        raise DataError(
            f"align.reward_model = {align.reward_model}: has no {REWARD_CARD}, so it is not a reward model; make one with "
            "align=reward, and store it with `tunetrail keep NAME --what aligned`"
        )


def _require_pairs(preference: params.Preference) -> None:
    """Raise DataError for a row of preference.file without a pair, or a sheet that is not filled in.

    Without this it is found out after `train`.
    """
    if "file" in preference.sources:
        from stages.preferences import file  # slow, and only needed here

        file.made(Path(preference.file), [])
    if "people" in preference.sources:
        from stages.preferences import people

        people.read(Path(preference.sheets), None)


def _require_kept(names: list[str]) -> None:
    """Raise DataError if an adapter to evaluate answers nothing; without this it is found out after `train`."""
    for n, folder in enumerate(params.NOTHING.parent / name for name in names):
        if not stored.holds(folder) or (folder / REWARD_CARD).is_file():
            what = "a reward model" if (folder / REWARD_CARD).is_file() else "neither an adapter nor a model"
            raise DataError(f"predict.kept[{n}] = {folder.name}: {folder} is {what}, so it answers nothing; leave it out")


def _summarised(differences: list[str]) -> list[str]:
    """Return one line for many differences: other data or another model brings dozens, and they belong together."""
    if len(differences) <= MOST:
        return differences
    how = "`tunetrail compose --check` lists them, and a file in conf/experiment/ with this name would hold them"
    return [f"params.yaml: differs in {len(differences)} keys from what conf/ composes; {how}"]


def _unread(checked: params.Params) -> list[str]:
    """Return a warning for each changed value of the section lora that the chosen adapter ignores."""
    kind = checked.adapter.type
    changed = [] if kind == "lora" else [key for key in compose.changed() if key.startswith("lora.")]
    return [f"{key} is not read with adapter.type = {kind}: only adapter=lora reads the section lora" for key in changed]


def _require_device(runtime: params.Runtime) -> None:
    if runtime.device == "cuda":
        import torch  # slow, and only needed here

        if not torch.cuda.is_available():
            build = "this build of torch has no CUDA" if torch.version.cuda is None else "torch sees no GPU"
            raise DataError(f"runtime.device = cuda: {build}; set runtime=cpu")


if __name__ == "__main__":
    stage.run(main)
