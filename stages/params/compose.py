"""Compose conf/ into params.yaml exactly as `dvc exp run` does, to write it or to find where the two differ."""

import difflib
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages import params
from stages.errors import DataError
from stages.files import write_text
from stages.params.engine import DERIVED

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = re.compile(r"Could not override '(.+)'\.\nTo append")  # Hydra's message for a key that conf/ does not have


def compose(overrides: list[str], output: Path) -> None:
    """Compose conf/ with Hydra overrides into `output`; raise DataError if Hydra or the schema refuses them."""
    write_text(output, text(overrides))


def text(overrides: list[str]) -> str:
    """Return what conf/ composes to, as YAML; raise DataError with one line per mistake."""
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        try:
            compose_and_dump(str(path), str(ROOT / "conf"), None, "config", str(ROOT), overrides)
        except MissingConfigException as error:
            there = f"; choose one of {', '.join(error.options)}" if error.options else ""
            raise DataError(f"conf/{error.missing_cfg_file}.yaml: no such file{there}") from None
        except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra has no error of its own for lora=8
            unknown = UNKNOWN.match(str(error))
            raise DataError(_unknown(unknown[1], overrides) if unknown else str(error)) from None
        except Exception as error:  # of PyYAML, through which Hydra reads conf/
            if not (mark := getattr(error, "problem_mark", None)):
                raise
            where = f"{Path(mark.name).relative_to(ROOT)}:{mark.line + 1}"
            raise DataError(
                f"{where}: not YAML: {getattr(error, 'problem', error)}; correct that line, e.g. quote a text with signs"
            ) from None
        return path.read_text(encoding="utf-8")


def _unknown(key: str, overrides: Sequence[str]) -> str:
    """Return a line on an override of a key that conf/ does not have, and one per mistake in the other overrides."""
    if options := sorted(path.stem for path in (ROOT / "conf" / key).glob("*.yaml")):
        return f"{key}: takes a name, not values; choose one of {', '.join(options)}"
    others = [override for override in overrides if override.partition("=")[0] != key]
    try:
        known, further = text(others if len(others) < len(overrides) else []), []
    except DataError as error:
        known, further = text([]), [str(error)]
    if key in params.NEVER:
        return "\n".join([f"{key}: {params.NEVER[key]}", *further])
    close = _nearest(key, [name for name, _ in params.flatten(params.parse(known.encode(), "conf/"))])
    return "\n".join([f"{key}: unknown key" + (f"; did you mean {close}?" if close else ""), *further])


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """Return the key of the same section with the most similar name; without that section, the most similar key."""
    names = {*known, *(folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir())}
    names |= {name[: dot.start()] for name in known for dot in re.finditer(r"\.", name)}
    section, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in sorted(names) if name.rpartition(".")[0] == section}
    if not siblings:
        return next(iter(difflib.get_close_matches(key, sorted(names), n=1)), None)
    close = difflib.get_close_matches(last, siblings, n=1, cutoff=0.4)
    return siblings[close[0]] if close else None


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
    keys = (key for key in here.keys() | there.keys() if not key.startswith(DERIVED))
    return sorted(key for key in keys if _shown(here, key) != _shown(there, key))


def _shown(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, sort_keys=True) if key in values else "nothing"


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

    def alike(option: Path) -> tuple[bool, float, int]:
        """Rank options that set the key like this first, then those with few other values: mine.yaml before rows.yaml."""
        own = dict(params.flatten(params.load(option)))
        own.pop("defaults", None)
        equal = sum(there.get(key.removesuffix(inner) + name) == value for name, value in own.items())
        return own.get(inner) == there[key], equal / max(len(own), 1), equal

    return f"{max(sorted(folder.glob('*.yaml')), key=alike).relative_to(ROOT)}:{inner}"
