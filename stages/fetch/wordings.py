"""Read the wordings of questions about a graph, one file per split, and name every mistake in them at once."""

import difflib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.fetch.splits import SPLITS
from stages.files import lines, read_yaml
from stages.params import GraphData
from stages.records import Document
from stages.tasks.questions import FORMS, KINDS, LINES, Wordings


def wordings_by_split(folder: Path, relations: Set[str], data: GraphData) -> dict[str, list[Document]]:
    """Return the wordings by split; raise DataError with a line per mistake in the three files."""
    wordings, mistakes = {}, []
    for name in SPLITS:
        path = folder / f"{name}.yaml"
        wordings[name], wrong = read_file(path)
        if wordings[name] or not wrong:  # of a file in another form, nothing is missing in particular
            wrong += Wordings(wordings[name]).missing(relations, _needed(name, data))
        mistakes += [f"{path}: {line}" for line in wrong]
    if mistakes:
        raise DataError("\n".join(mistakes))
    _refuse_shared(folder, wordings)
    return wordings


def _needed(split: str, data: GraphData) -> list[str]:
    """Return the forms that the questions of a split need; Self-KG itself checks what names in training need."""
    if split == "train":
        return [*FORMS, "frame"]
    rows = getattr(data.rows, split)
    choices = rows.trained_facts or rows.held_out_facts or rows.new_entities
    needed = {"open": rows.open, "choice": choices, "frame": choices}
    return [form for form in KINDS if needed.get(form) or rows.unanswerable]


def read_file(path: Path) -> tuple[list[Document], list[str]]:
    """Read a mapping from relation (or "any") to form to a list of texts, and a line per mistake in it.

    See stages/tasks/questions.py.
    """
    listed = read_yaml("\n".join(lines(path)), str(path))
    if not isinstance(listed, dict):
        return [], ["must map each relation to its forms and each form to a list of texts"]
    found: list[Document] = []
    mistakes = []
    for relation, forms in listed.items():
        if not isinstance(forms, dict):
            mistakes.append(f"{relation}: must map forms such as choice to lists of texts")
            continue
        for form, texts in forms.items():
            mistakes += [f"{relation}.{form}: {line}" for line in _mistakes(form, texts)]
            if form in KINDS:  # one with a mistake is not missing besides
                found += [
                    Document(text=str(text).strip(), kind=form, source=str(relation))
                    for text in (texts if isinstance(texts, list) else [texts])
                ]
    return found, mistakes


def _mistakes(form: Any, texts: Any) -> list[str]:
    """Return what is wrong with the wordings of one form."""
    if form not in KINDS:
        close = difflib.get_close_matches(str(form), KINDS, n=1)
        return [f"unknown form; {f'did you mean {close[0]}?' if close else 'known are ' + ', '.join(KINDS)}"]
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        return ["must be a list of texts"]
    count = LINES.get(form)
    return [
        f"must have {count} line{'s' if count > 1 else ''}: {text.strip()!r}"
        for text in texts
        if count and len(text.strip().splitlines()) != count
    ]


def _refuse_shared(folder: Path, wordings: Mapping[str, Sequence[Document]]) -> None:
    """Raise DataError if two splits ask in the same words."""
    seen: dict[str, str] = {}
    for split, documents in wordings.items():
        for wording in documents:
            if wording.kind in FORMS and seen.setdefault(wording.text.lower(), split) != split:
                raise DataError(
                    f"{folder}/{split}.yaml: {wording.text!r} is also in {seen[wording.text.lower()]}.yaml; reword it"
                )
