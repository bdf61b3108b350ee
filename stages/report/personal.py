"""What must not reach git: texts where report.texts is false, names of groups, and personal data that nobody noticed."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.figures.synthesis import Rejected
from stages.pages import Content
from stages.report.evidence import Evidence
from stages.terminal import visible

# Addresses below the domains that RFC 2606 reserves for examples belong to nobody.
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?!(?:[\w-]+\.)*example\b)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
# With country code; with area code; of North America, but not its 555-01xx, which belong to nobody; a mobile of China; a mobile
# of Germany, Britain or Japan. Runs of digits alone are numbers of orders as well, so few lengths and beginnings count.
PHONE = re.compile(
    r"(?<![\w.,/-])(?:(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){7,13}|\(?0\d{1,4}\)?[ /-](?:[ ./-]?\d){5,9}"
    r"|(?:\([2-9]\d\d\) ?|[2-9]\d\d-)(?!555-01)[2-9]\d\d-\d{4}"
    r"|(?<![#$€£¥])(?:1[3-9]\d(?:\d{8}|-\d{4}-\d{4}| \d{4} \d{4})|0(?:1[67]|7\d|[89]0)\d{8}))(?![\w-]|[.,]\d)",
    re.ASCII,
)
NARROW = str.maketrans("＠．＋－（）０１２３４５６７８９", "@.+-()0123456789")
SHOWN = ("examples", "realigned", "nearest", "errors")  # of a page's content: what consists of rows, answers and their sources


def without_texts(found: Evidence) -> Evidence:
    """Return the evidence without rejected texts, names of documents, and labels as rows and answers have them."""
    funnels = [
        funnel.model_copy(
            update={
                "rejected": {name: Rejected(count=one.count, examples=[]) for name, one in funnel.rejected.items()},
                "figures": {name: figure for name, figure in funnel.figures.items() if name != "coverage"},
            }
        )
        for funnel in found.funnels
    ]
    return replace(found, funnels=funnels, plots={**found.plots, "confusion": []})


def without_rows(content: Content) -> Content:
    """Return the content of the pages without rows, answers and their sources."""
    return {**content, **{name: [] for name in SHOWN}}


def warn(content: Content, folder: Path) -> None:
    """Print a warning if the pages show what looks like personal data and git does not ignore their folder."""
    found = content["found"]
    rejected = [one.examples for funnel in found.funnels for one in funnel.rejected.values()]
    labels = found.plots.get("confusion", [])
    kinds = _kinds(_texts([*(content[name] for name in SHOWN), rejected, labels]))
    if kinds and not _ignored(folder):
        _print(
            f"{folder / 'index.html'} or a plot shows what looks like {kinds}, and git keeps it; if they are real, set "
            "report.texts=false and run again before you commit"
        )


def warn_of_rows(place: Path, key: str) -> None:
    """Print a warning if a file of rows, or one in a folder, holds what looks like personal data and git does not ignore it.

    `key` is the parameter that names it.
    """
    for path in _not_ignored([place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())):
        if kinds := _kinds([path.read_text(encoding="utf-8", errors="replace")]):
            _print(
                f"{path} holds what looks like {kinds}, and git does not ignore it; if they are real, keep the rows in "
                f"data/own/ and set {key} before you commit"
            )


def pseudonyms(sources: list[str], secret: str) -> dict[str, str]:
    """Return a name for each source, such as a customer's address, that nobody can trace back without the rows.

    A plain hash could be found by trying addresses. This one also hashes `secret`, a hash of the rows, which git does not keep.
    """
    return {source: f"source-{hashlib.sha256(f'{secret} {source}'.encode()).hexdigest()[:16]}" for source in sources}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            yield "".join(text for text, kind in value if kind != "missing")  # an answer in pieces, see examples.marked
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _kinds(texts: Iterable[str]) -> str:
    """Return what was found, e.g. `2 e-mail addresses`; empty if nothing."""
    found: dict[str, set[str]] = {"e-mail addresses": set(), "phone numbers": set()}
    for text in texts:
        for ones, pattern in zip(found.values(), (EMAIL, PHONE), strict=True):
            ones.update(pattern.findall(text.translate(NARROW)))
    return " and ".join(f"{len(ones)} {name}" for name, ones in found.items() if ones)


def _print(warning: str) -> None:
    print(visible(f"warning: {warning}"), file=sys.stderr)


def _not_ignored(paths: list[Path]) -> list[Path]:
    """Return the files that git would add or has; none outside of a repository, or where git is missing."""
    names = "\0".join(map(str, paths)).encode(errors="surrogateescape")
    try:
        run = subprocess.run(["git", "check-ignore", "--stdin", "-z"], input=names, capture_output=True)
    except FileNotFoundError:
        return []
    ignored = run.stdout.decode(errors="surrogateescape").split("\0")
    return [path for path in paths if str(path) not in ignored] if run.returncode in (0, 1) else []


def _ignored(folder: Path) -> bool:
    return subprocess.run(["git", "check-ignore", "--quiet", folder / "index.html"], capture_output=True).returncode == 0
