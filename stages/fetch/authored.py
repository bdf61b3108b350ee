"""Authored complaints: bodies and layouts, and the rows composed from them."""

from pathlib import Path

from stages.errors import DataError, reason
from stages.fetch.splits import SPLITS
from stages.files import lines, read_yaml
from stages.params import ComplaintsData
from stages.records import Document, Task, content_hash
from stages.tasks.complaints import Mix, compose


def documents(folder: Path, split: str) -> tuple[list[Document], list[Document]]:
    """Return bodies (bodies/<split>.txt, one per line) and layouts (layouts/<split>.yaml, a list of id, kind, text)."""
    return _bodies(folder / "bodies" / f"{split}.txt"), _layouts(folder / "layouts" / f"{split}.yaml")


def complaints(data: ComplaintsData, seed: int) -> tuple[dict[str, list[Document]], dict[str, list[Task]]]:
    """Return documents and rows of every split; a teacher may see only the documents of train."""
    folder = Path(data.path)
    locales = (data.locale, *data.accents.locales)
    splits, found = {}, {}
    for split in SPLITS:
        bodies, layouts = documents(folder, split)
        found[split] = bodies + layouts
        count = getattr(data.rows, split)
        own_seed = int(content_hash([seed, split])[:8], 16)
        mix = Mix(data.missing, data.second_email, data.noise, getattr(data.accents, split))
        own_mix = mix.times(data.train_hard) if split == "train" else mix
        splits[split] = compose(bodies, layouts, count, locales, own_mix, data.system, data.indent, own_seed)
    return found, splits


def _bodies(path: Path) -> list[Document]:
    texts = [line.strip() for line in lines(path)]
    found = [Document(text=t, kind="body", source=f"{path.name}:{n}") for n, t in enumerate(texts, start=1) if t]
    if not found:
        raise DataError(f"{path}: empty; write one complaint per line")
    return found


def _layouts(path: Path) -> list[Document]:
    items = read_yaml("\n".join(lines(path)), str(path))
    try:
        found = [Document(text=item["text"], kind=item["kind"], source=item["id"]) for item in items]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: must be a list of layouts, each with id, kind and text ({reason(error)})") from None
    for layout in found:
        if layout.text.count("{question}") != 1:
            raise DataError(f"{path}: layout {layout.source} must contain {{question}} exactly once")
    return found
