"""Data sets of the Hugging Face hub: download one at the current commit of its revision, and read its rows.

If the hub is out of reach, messages name an experiment that needs none.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages import files
from stages.errors import DataError, reason
from stages.params import HubRows

CARDS = ("README.md", ".huggingface.yaml")  # may name the files of each split
ALLOWED = ("*.parquet", "*.jsonl", "*.json", "*.csv", "README.md")
# Keys of a configuration in a card. Every other one is an option of a reader, and some compute: `sep` may be a pattern.
CONFIGURED = {"config_name", "data_files", "data_dir", "default", "description", "version", "features", "drop_labels"}
SIGNS = {"sep", "delimiter", "quotechar", "escapechar"}  # options that may be one sign
OUTSIDE = re.compile(r"^[/~\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|::|://")  # in a path: absolute, upwards, chained or a URL
EXPERIMENTS = Path("conf/experiment")
MOST_CONFIGS = 50  # that a message lists


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


def rows(hub: HubRows, folder: Path, split: str) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a split, each with its place; raise DataError without a table or such a split.

    The card of a data set is not trusted: a path in it that leads out of the folder is refused, and so are columns whose
    values datasets would read from files or addresses, such as images.
    """
    from datasets import load_dataset_builder

    _check_cards(hub, folder)
    with tempfile.TemporaryDirectory() as converted:
        try:
            _require_config(hub, folder)
            builder = load_dataset_builder(str(folder), hub.config, cache_dir=converted)
            _check_files(hub, folder, builder.config.data_files or {})
            builder.download_and_prepare()
            if split not in (splits := builder.info.splits or {}):
                key = "data.hub.split" if hub.split else "data.splits"
                raise DataError(f"{key} = {split}: {hub.repo} has the splits {', '.join(splits)}; set one")
            table = builder.as_dataset(split=split)
        except DataError:
            raise
        except Exception as error:  # a card or a file that is not a data set can make datasets raise anything
            instead = "name another, or save its rows as a file, set data.path and data.hub=null"
            raise DataError(
                f"data.hub.repo = {hub.repo}: cannot be read as a table ({reason(error.__cause__ or error)}); {instead}"
            ) from None
        for name, feature in table.features.items():
            if not _is_text(feature):
                raise DataError(f"{hub.repo}: column {name!r} holds files such as images; only text is read")
        labels = {name: feature for name, feature in table.features.items() if _has_names(feature)}
        for number, row in enumerate(table, start=1):
            named = {name: _name(feature, row[name]) for name, feature in labels.items()}
            yield f"{hub.repo}, {split}: row {number}", row | named


def _require_config(hub: HubRows, folder: Path) -> None:
    """Raise DataError unless `config` names a configuration of the data set, or is null and the data set names a default."""
    from datasets import get_dataset_config_names, get_dataset_default_config_name

    names = get_dataset_config_names(str(folder))
    if (hub.config or get_dataset_default_config_name(str(folder))) not in names:
        listed = ", ".join(names[:MOST_CONFIGS]) + (f" and {len(names) - MOST_CONFIGS} more" if names[MOST_CONFIGS:] else "")
        raise DataError(f"data.hub.config = {hub.config or 'null'}: {hub.repo} has the configurations {listed}; set one")


def _has_names(feature: Any) -> bool:
    """Return whether a column holds labels with names; names that are numbers themselves are none."""
    import datasets

    return isinstance(feature, datasets.ClassLabel) and not all(name.isdecimal() for name in feature.names)


def _name(feature: Any, value: int | None) -> str | None:
    """Return a label's name; None for -1, which marks a row without a label."""
    return None if value is None or value < 0 else str(feature.names[value])


def _is_text(feature: Any) -> bool:
    """Return whether a column holds only text, numbers and labels, in lists and objects."""
    import datasets

    if isinstance(feature, dict):
        return all(map(_is_text, feature.values()))
    if isinstance(feature, datasets.List | datasets.LargeList):
        return _is_text(feature.feature)
    return isinstance(feature, datasets.Value | datasets.ClassLabel | datasets.Json | datasets.Translation)


def _check_cards(hub: HubRows, folder: Path) -> None:
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    for card in (folder / name for name in CARDS):
        if not card.is_file():
            continue
        text = card.read_text(encoding="utf-8", errors="replace")
        if card.suffix == ".md":
            text = block[2] if (block := REGEX_YAML_BLOCK.search(text.removeprefix("\ufeff"))) else ""  # as datasets does
        content = files.read_yaml(text, f"{hub.repo}: {card.name}")
        if option := next(_options(content), None):
            raise DataError(f"{hub.repo}: {card.name} sets {option[:80]!r} for the reader of its files, which is not followed")
        for path in _paths(content):
            if OUTSIDE.search(path):
                raise DataError(f"{hub.repo}: {card.name} names the file {path[:80]!r}; only files of the data set are read")


def _options(card: Any) -> Iterator[str]:
    """Yield the options of readers in a card's configurations, except usual signs of CSV."""
    configs = card.get("configs") if isinstance(card, dict) else None
    for config in configs if isinstance(configs, list) else ():
        for key, value in config.items() if isinstance(config, dict) else ():
            if key not in CONFIGURED and not (key in SIGNS and isinstance(value, str) and len(value) == 1):
                yield str(key)


def _paths(value: Any, named: bool = False) -> Iterator[str]:
    """Yield all texts below data_files and data_dir in a card."""
    if isinstance(value, str) and named:
        yield value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _paths(child, named or key in ("data_files", "data_dir"))
    elif isinstance(value, list):
        for child in value:
            yield from _paths(child, named)


def _check_files(hub: HubRows, folder: Path, splits: dict[Any, Any]) -> None:
    """Raise DataError unless each file lies in the snapshot or, as links of the hub's cache do, in the blobs next to it."""
    inside = (folder.resolve(), folder.parent.parent.resolve() / "blobs")
    for path in (Path(file) for found in splits.values() for file in found):
        if not any(path.resolve().is_relative_to(place) for place in inside):
            raise DataError(f"{hub.repo}: {path.name} is a link out of the data set; only files of the data set are read")
