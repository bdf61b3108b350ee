"""The manifest of a base model, models/base.json: its source, revision, and the sha256 of every file.

Weights are never a DVC output. A stage that needs them fetches missing files and checks all (stages/models/sources.py).
"""

from math import prod
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

from stages.errors import DataError
from stages.params import Model

MANIFEST = Path("models/base.json")


class File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """A fetched model: `model` as configured (a branch resolved to its commit), and every file with hash and size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Model
    parameters: int
    files: dict[str, File]

    @property
    def weight_bytes(self) -> int:
        return sum(file.bytes for name, file in self.files.items() if name.endswith(".safetensors"))


def read_manifest(path: Path = MANIFEST) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro fetch` first") from None


def parameters(folder: Path) -> int:
    """Return the number of weights stored in a folder; only the headers are read."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as tensors:
                total += sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise DataError(f"{path}: damaged: {error}") from None
    return total
