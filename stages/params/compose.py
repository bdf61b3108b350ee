"""Compose conf/ into params.yaml exactly as `dvc exp run` does, to write it or to find where the two differ."""

import json
import tempfile
from pathlib import Path
from typing import Any

from stages import params
from stages.errors import DataError
from stages.files import write_text

ROOT = Path(__file__).resolve().parents[2]


def compose(overrides: list[str], output: Path) -> None:
    """Compose conf/ with Hydra overrides into `output`; raise DataError if Hydra or the schema refuses them."""
    write_text(output, text(overrides))


def text(overrides: list[str]) -> str:
    """Return what conf/ composes to, as YAML."""
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        try:
            compose_and_dump(str(path), str(ROOT / "conf"), None, "config", str(ROOT), overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise DataError(str(error)) from None
        return path.read_text(encoding="utf-8")


def composed(*overrides: str) -> dict[str, Any]:
    """Return what conf/ composes to, as plain values."""
    return params.parse(text(list(overrides)).encode(), "conf/")


def changed() -> list[str]:
    """Return the keys in which params.yaml differs from what its experiment in conf/ composes to."""
    return _differing(*_sides())


def differences() -> list[str]:
    """Return one line per key in which params.yaml differs from its experiment in conf/, with the command that keeps it."""
    here, there = _sides()

    def keep(key: str) -> str:
        """Return how to keep a value in conf/; empty if only one side has the key or the key selects a kind of section."""
        both = key in here and key in there and key.rpartition(".")[2] not in ("type", "kind", "source")
        return f"keep it with `dvc exp run -S '{_home(key, there)}={_shown(here, key)}'` or " if both else ""

    return [
        f"params.yaml: {key} = {_shown(here, key)}, but conf/ composes {_shown(there, key)}; {keep(key)}drop it with "
        "`tunetrail compose`"
        for key in _differing(here, there)
    ]


def _sides() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return params.yaml, and what its experiment in conf/ composes to, by dotted key."""
    here = dict(params.flatten(params.load()))
    experiments = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    chosen = [f"experiment={here['name']}"] if here.get("name") in experiments else []
    return here, dict(params.flatten(composed(*chosen)))


def _differing(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return sorted(key for key in here.keys() | there.keys() if _shown(here, key) != _shown(there, key))


def _shown(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, sort_keys=True) if key in values else "absent"


def _home(key: str, there: dict[str, Any]) -> str:
    """Return the file of conf/ that sets a key, and its name there: the experiment, else the option closest to `there`."""
    conf, inner = ROOT / "conf", key
    experiment = conf / "experiment" / f"{there['name']}.yaml"
    if experiment.is_file() and key in dict(params.flatten(params.load(experiment))):
        return f"conf/experiment/{experiment.name}:{key}"
    folder = conf
    while (folder / inner.split(".")[0]).is_dir():
        name, _, inner = inner.partition(".")
        folder /= name
    if folder == conf:
        return f"conf/config.yaml:{key}"

    def alike(option: Path) -> int:
        own = params.flatten(params.load(option))
        return sum(there.get(key.removesuffix(inner) + name) == value for name, value in own)

    return f"{max(sorted(folder.glob('*.yaml')), key=alike).relative_to(ROOT)}:{inner}"
