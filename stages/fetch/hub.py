"""Data sets of the Hugging Face hub: download one at the current commit of its revision, and read its rows.

If the hub is out of reach, messages name an experiment that needs none.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.errors import DataError, reason
from stages.params import HubRows

ALLOWED = ("*.parquet", "*.jsonl", "*.json", "*.csv", "README.md")  # README.md may name the files of each split
EXPERIMENTS = Path("conf/experiment")


def instead(name: str) -> str:
    """Return the end of a message: the offline experiment whose name begins `name`, or else the default one."""
    offline = [path.stem for path in EXPERIMENTS.glob("*_offline.yaml") if name.startswith(path.stem.removesuffix("_offline"))]
    return f"experiment={max(offline, key=len, default='complaints')} needs no hub"


def download(hub: HubRows, name: str) -> Path:
    """Return the data set's folder in the hub's cache, named by its commit; `name` is the experiment."""
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub.repo, repo_type="dataset", revision=hub.revision, allow_patterns=list(ALLOWED))
    except (HTTPError, OSError) as error:
        raise DataError(
            f"data.hub.repo = {hub.repo} at {hub.revision}: cannot be fetched ({reason(error)}); {instead(name)}"
        ) from None
    return Path(folder)


def rows(hub: HubRows, folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of the split, each with its place; raise DataError without a table or such a split."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    with tempfile.TemporaryDirectory() as converted:
        try:
            table = load_dataset(str(folder), split=hub.split, cache_dir=converted)
        except (DatasetsError, ValueError, OSError) as error:
            raise DataError(
                f"data.hub.split = {hub.split}: cannot be read from {hub.repo} ({reason(error)}); set another"
            ) from None
        for number, row in enumerate(table, start=1):
            yield f"{hub.repo}, {hub.split}: row {number}", row
