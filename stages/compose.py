"""conf/ composed into params.yaml exactly as `dvc exp run` does, to write it or to see whether the two have parted."""

import tempfile
from pathlib import Path
from typing import Any

from stages import params
from stages.records import DataError

ROOT = Path(__file__).resolve().parents[1]


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


def differences() -> list[str]:
    """How params.yaml differs from what its experiment in conf/ composes to, a line each with the way to promote it."""
    here = dict(params.flatten(params.load()))
    experiments = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    chosen = [f"experiment={here['name']}"] if here["name"] in experiments else []
    there = dict(params.flatten(composed(*chosen)))
    return [
        f"params.yaml: {key} = {here.get(key, 'absent')}, but conf/ composes {there.get(key, 'absent')}; keep it with "
        f"`dvc exp run -S 'conf/…yaml:{key.split('.', 1)[-1]}={here.get(key)}'` or drop it with `tunetrail compose`"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
