"""A data set of the Hugging Face hub: downloaded at the commit that its revision stands for now, and read row by row.

And what to run instead where the hub is out of reach.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.errors import DataError, reason
from stages.params import HubRows

ALLOWED = ("*.parquet", "*.jsonl", "*.json", "*.csv", "README.md")  # the page may say which files make a split
EXPERIMENTS = Path("conf/experiment")


def instead(name: str) -> str:
    """What runs without the hub, as the end of a line: the offline one whose name begins `name`, or the default."""
    offline = [path.stem for path in EXPERIMENTS.glob("*_offline.yaml") if name.startswith(path.stem.removesuffix("_offline"))]
    return f"experiment={max(offline, key=len, default='complaints')} needs no hub"


def download(hub: HubRows, name: str) -> Path:
    """The data set's folder in the hub's own cache, whose name is the commit; `name` is the experiment's."""
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
    """The rows of the split, each with its place; DataError where the files hold no table or no such split."""
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
