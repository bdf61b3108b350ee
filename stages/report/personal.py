"""What must not reach git: texts where report.texts is false, names of groups, and personal data that nobody noticed."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.figures import Rejected
from stages.report.evidence import Evidence, Json
from stages.terminal import visible

# Addresses below the domains that RFC 2606 reserves for examples belong to nobody.
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?!(?:[\w-]+\.)*example\b)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
PHONE = re.compile(
    r"(?<![\w.,/-])(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){7,13}(?![\w-])|(?<![\w.,/-])\(?0\d{1,4}\)?[ /-](?:[ ./-]?\d){5,9}(?![\w-])"
)
SHOWN = ("examples", "nearest", "errors")  # of a page's content: what consists of rows, answers and their sources


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


def without_rows(content: Json) -> Json:
    """Return the content of the pages without rows, answers and their sources."""
    return {**content, **{name: [] for name in SHOWN}}


def warn(content: Json, folder: Path) -> None:
    """Print a warning if the pages show what looks like personal data and git does not ignore their folder."""
    rejected = [one.examples for funnel in content["found"].funnels for one in funnel.rejected.values()]
    texts = list(_texts([*(content[name] for name in SHOWN), rejected]))
    found = {
        name: {one for text in texts for one in pattern.findall(text)}
        for name, pattern in (("e-mail addresses", EMAIL), ("phone numbers", PHONE))
    }
    if any(found.values()) and not _ignored(folder):
        kinds = " and ".join(f"{len(ones)} {name}" for name, ones in found.items() if ones)
        print(
            visible(
                f"warning: {folder / 'index.html'} shows what looks like {kinds}, and git keeps it; if they are real, "
                "set report.texts=false and run again before you commit"
            ),
            file=sys.stderr,
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


def _ignored(folder: Path) -> bool:
    return subprocess.run(["git", "check-ignore", "--quiet", folder / "index.html"], capture_output=True).returncode == 0
