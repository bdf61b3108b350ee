"""A data set of the Hugging Face hub: downloaded at the commit that its revision stands for now, and read row by row."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.params import HubRows
from stages.records import DataError

ALLOWED = ("*.parquet", "*.jsonl", "*.json", "*.csv", "README.md")  # the page may say which files make a split


def download(hub: HubRows, instead: str) -> Path:
    """The data set's folder in the hub's own cache, whose name is the commit; `instead` is the file to offer if it fails."""
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub.repo, repo_type="dataset", revision=hub.revision, allow_patterns=list(ALLOWED))
    except (HTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"data.hub.repo = {hub.repo} at {hub.revision}: cannot be fetched ({reason}); with data.hub=null and a model like "
            f"model=smollm2 the experiment runs on {instead} and needs no hub"
        ) from None
    return Path(folder)


def rows(hub: HubRows, folder: Path) -> Iterator[tuple[str, Any]]:
    """The rows of the split, each with its place; DataError where the files are no table or have no such split."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    with tempfile.TemporaryDirectory() as converted:
        try:
            table = load_dataset(str(folder), split=hub.split, cache_dir=converted)
        except (DatasetsError, ValueError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(f"data.hub.split = {hub.split}: cannot be read from {hub.repo} ({reason}); set another") from None
        for number, row in enumerate(table, start=1):
            yield f"{hub.repo}, {hub.split}: row {number}", row
