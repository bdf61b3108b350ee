"""conf/ composed into params.yaml exactly as `dvc exp run` does, to write it or to see whether the two have parted."""

import json
import tempfile
from pathlib import Path
from typing import Any

from stages import params
from stages.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def compose(overrides: list[str], output: Path) -> None:
    """Compose conf/ with Hydra overrides into `output`; DataError on what Hydra or the schema refuses."""
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        compose_and_dump(str(output), str(ROOT / "conf"), None, "config", str(ROOT), overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise DataError(str(error)) from None


def composed(*overrides: str) -> dict[str, Any]:
    """What conf/ composes to, as plain values."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        compose(list(overrides), path)
        return params.load(path)


def changed() -> list[str]:
    """The keys in which params.yaml differs from what its experiment in conf/ composes to."""
    return _differing(*_sides())


def differences() -> list[str]:
    """How params.yaml differs from what its experiment in conf/ composes to, a line each with the way to promote it."""
    here, there = _sides()

    def keep(key: str) -> str:
        """Nothing for a key that only one side has or that names a choice: no value promotes another choice of a section."""
        both = key in here and key in there and key.rpartition(".")[2] not in ("type", "kind", "source")
        return f"keep it with `dvc exp run -S '{_home(key, there)}={_shown(here, key)}'` or " if both else ""

    return [
        f"params.yaml: {key} = {_shown(here, key)}, but conf/ composes {_shown(there, key)}; {keep(key)}drop it with "
        "`tunetrail compose`"
        for key in _differing(here, there)
    ]


def _sides() -> tuple[dict[str, Any], dict[str, Any]]:
    """params.yaml, and what its experiment in conf/ composes to, by dotted key."""
    here = dict(params.flatten(params.load()))
    experiments = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    chosen = [f"experiment={here['name']}"] if here.get("name") in experiments else []
    return here, dict(params.flatten(composed(*chosen)))


def _differing(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return sorted(key for key in here.keys() | there.keys() if _shown(here, key) != _shown(there, key))


def _shown(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, sort_keys=True) if key in values else "absent"


def _home(key: str, there: dict[str, Any]) -> str:
    """The file of conf/ that decides a key, and the key's name in it: the experiment, else the option most like `there`."""
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
