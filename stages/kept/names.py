"""The names of systems that are kept adapters: `kept_<name>` is the base with adapters/<name>."""

from collections.abc import Sequence
from pathlib import Path

KEPT, ADAPTERS = "kept", Path("adapters")


def kept(names: Sequence[str]) -> list[str]:
    """Return the systems of the kept adapters, in the order of `predict.kept`."""
    return [f"{KEPT}_{name}" for name in names]


def is_kept(system: str) -> bool:
    return system.startswith(f"{KEPT}_")
