"""validate: every mistake in params.yaml at once, before DVC touches an output; then advice and what differs from conf/."""

import json
import os
from pathlib import Path

from stages import compose, params, records, stage
from stages.records import DataError


def main() -> None:
    checked = params.check_file()
    _require_sources(checked)
    _require_start(checked.train.start_from)
    _require_device(checked.runtime)
    for line in checked.advice():
        print(f"advice: {line}")
    for line in _unread(checked):
        print(f"warning: {line}")
    if "DVC_EXP_NAME" not in os.environ:  # an experiment differs from conf/ on purpose
        for line in compose.differences():
            print(f"warning: {line}")
    records.write_text(Path("data/validated.txt"), "params.yaml is valid\n")


def _require_sources(checked: params.Params) -> None:
    """DVC says of a missing source that a file or directory does not exist, and not which parameter names it."""
    named = {"data.path": checked.data.path, "retention.path": checked.retention.path}
    if checked.train.start_from:
        named["train.start_from"] = checked.train.start_from
    missing = [f"{key}: {path}: no such file or folder; set {key}" for key, path in named.items() if not Path(path).exists()]
    if missing:
        raise DataError("\n".join(missing))


def _require_start(start_from: str | None) -> None:
    """LoftQ's adapter belongs to the rounded base that it makes up for; what goes on from it is no longer known to."""
    config = Path(start_from or "") / "adapter_config.json"
    if not start_from or not config.is_file():  # a whole model, or what train refuses
        return
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:  # also what is not UTF-8
        stored = None
    if not isinstance(stored, dict):
        raise DataError(f"train.start_from = {start_from}: its adapter_config.json is damaged; name an undamaged copy")
    if stored.get("loftq_config"):
        raise DataError(
            f"train.start_from = {start_from}: was trained with lora.init=loftq; go on from one with lora.init=default"
        )


def _unread(checked: params.Params) -> list[str]:
    """What was changed in the section lora although another adapter is chosen: no mistake, but it changes nothing."""
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
