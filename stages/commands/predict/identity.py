"""Hashes of what answers, and of everything that decides the answers of one call."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.commands.predict import texts
from stages.commands.predict.named import SCHEMAS
from stages.commands.predict.opening import How
from stages.files import file_hash
from stages.models.manifest import MANIFEST
from stages.params import Params
from stages.records import content_hash
from stages.text.prompts import SHOTS

DIGITS = 16  # of the hash of weights in the log


def short(weights: Sequence[str]) -> str:
    """Return one hash of what answers."""
    return content_hash(weights)[:DIGITS]


def weights(adapters: Mapping[str, Path | None]) -> dict[str, list[str]]:
    """Return by system the hashes of what answers: the base's manifest, and the files of the adapter or the examples."""
    return {
        name: [file_hash(MANIFEST), *(file_hash(path) for path in _files(folder) if path.is_file())]
        for name, folder in adapters.items()
    }


def _files(adapter: Path | None) -> list[Path]:
    return sorted(adapter.iterdir()) if adapter else [SHOTS]


def fingerprint(source: str, weights: Mapping[str, list[str]], p: Params, how: How, column: str | None, logs: bool) -> str:
    """Return a hash of everything that decides the answers; for standard input, which cannot be hashed yet, the process id."""
    given = str(os.getpid()) if source == "-" else file_hash(Path(source))
    fields = file_hash(SCHEMAS) if how.constrain != "none" and SCHEMAS.is_file() else ""
    read = [texts.columns(p.data).read, p.data.model_dump()]
    options = [*read, p.predict.batch_size, p.predict.max_new_tokens, *how, fields, column, logs]
    return content_hash([given, weights, *options])[:12]
