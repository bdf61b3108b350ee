"""Write the text of a PDF, a Word document or a web page to standard output, as JSON: title and parts, or why there is none.

A program of its own, which stages.fetch.conversion starts for each file: the file may be hostile, so time and memory are
limited. The parts of a PDF are its pages by number; other documents have one part, in Markdown. `missed` names what of a
Word document is not read, such as equations and hidden text.
"""

import codecs
import copy
import io
import json
import re
import resource
import sys
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

LONGEST = 10_000_000  # characters of a document
LIGATURES = re.compile("[\ufb00-\ufb06]")  # of a font, such as ﬁ
# Characters that no text has, and names of glyphs in a row: a font that does not tell which characters it draws.
GARBLED = re.compile(r"[\x00-\x08\x0e-\x1f\ue000-\uf8ff\ufffd]|(?:/[A-Za-z]{1,5}\d+){3,}")
MOST_GARBLED = 0.3  # of the characters of a page
UNSEEN = [
    *("head", "nav", "aside", "footer", "script", "style", "noscript", "template", "svg", "iframe"),
    *("button", "input", "select", "textarea"),
]
STYLES = ("display:none", "display: none", "visibility:hidden", "visibility: hidden")
HIDDEN = ", ".join(["[hidden]", '[aria-hidden="true"]', *(f'[style*="{style}" i]' for style in STYLES)])
OTHERS = {
    b"%PDF-": "a PDF; name the file .pdf",
    b"{\\rtf": "RTF; save it as .docx",
    b"PK\x03\x04": "a zip archive, as .docx is",
}
MARKS = ["a", "img", "b", "strong", "i", "em"]  # whose text alone is kept
WORD = ("http://schemas.openxmlformats.org/wordprocessingml/2006/main", "http://purl.oclc.org/ooxml/wordprocessingml/main")
RUNS = {f"{{{space}}}r" for space in WORD}
TEXTS = re.compile(r"word/(?:document|footnotes|endnotes|styles)\d*\.xml")
TITLES = "p[style-name='Title'] => h1:fresh"


Found = tuple[str, dict[str, str], list[str]]


class Unreadable(Exception):
    """Why a file gave no text."""


def main(name: str, seconds: str, memory: str) -> None:
    limits = {resource.RLIMIT_AS: int(memory), resource.RLIMIT_CPU: int(seconds), resource.RLIMIT_FSIZE: 0}
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    path = Path(name)
    try:
        title, parts, missed = READERS[path.suffix.lower()](path)
        if sum(len(text) for text in parts.values()) > LONGEST:
            raise Unreadable(f"more than {LONGEST:,} characters; divide it")
        found: dict[str, Any] = {"title": title.strip() or path.stem, "parts": parts, "missed": missed}
    except Unreadable as error:
        found = {"error": str(error)}
    except (MemoryError, RecursionError) as error:
        found = {"error": "nested too deeply" if isinstance(error, RecursionError) else "needs too much memory"}
    except Exception as error:  # a damaged file can make a library raise anything
        found = {"error": f"damaged or of another form ({type(error).__name__})"}
    sys.stdout.buffer.write(json.dumps(found).encode())


def pdf(path: Path) -> Found:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(path)
    try:
        is_locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:  # for AES
        is_locked = True
    if is_locked:
        raise Unreadable("encrypted; save it without a password")
    return path.stem, {str(number): _page(page) for number, page in enumerate(reader.pages, start=1)}, []


def _page(page: Any) -> str:
    """Return the text of a page, "" if it cannot be read: other pages may still be."""
    try:
        text = page.extract_text()
    except MemoryError:
        raise
    except Exception:  # as for documents
        return ""
    garbled = sum(len(found[0]) for found in GARBLED.finditer(text))
    return "" if garbled > MOST_GARBLED * len(text) else _plain(text)


def docx(path: Path) -> Found:
    import mammoth
    from bs4 import BeautifulSoup

    file, hidden = _shown(path)
    page = mammoth.convert_to_html(
        file, style_map=TITLES, include_embedded_style_map=False, convert_image=lambda _: [], external_file_access=False
    )
    unread = [message.message.rpartition(": ")[2] for message in page.messages if "element was ignored" in message.message]
    missed = sorted({re.split("[}:]", name)[-1] for name in unread}) + ([f"hidden text ({hidden} runs)"] if hidden else [])
    return *_markdown(BeautifulSoup(page.value, "lxml")), missed


def _shown(path: Path) -> tuple[io.BytesIO, int]:
    """Return a Word file without the runs that it hides, by themselves or by their style, and the number of these runs."""
    from xml.etree import ElementTree

    with zipfile.ZipFile(path) as archive:
        if not any(b"vanish" in archive.read(name) for name in archive.namelist() if TEXTS.fullmatch(name)):
            return io.BytesIO(path.read_bytes()), 0
        parts = {name: archive.read(name) for name in archive.namelist() if name.endswith((".xml", ".rels"))}
    trees = {name: ElementTree.fromstring(raw) for name, raw in parts.items() if TEXTS.fullmatch(name)}
    styles = [style for tree in trees.values() for style in tree.iter() if style.tag in {f"{{{w}}}style" for w in WORD}]
    hiding = {_value(style, "styleId") for style in styles if _vanishes(style)}
    hidden = sum(_hide(tree, hiding) for tree in trees.values())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, raw in parts.items():
            archive.writestr(name, ElementTree.tostring(trees[name]) if name in trees else raw)
    return file, hidden


def _hide(tree: Any, hiding: set[str | None]) -> int:
    """Remove the runs that are hidden, and return the number of those with text."""
    hidden, rest = 0, [(tree, False)]
    while rest:
        element, by_style = rest.pop()
        style = element.find("{*}pPr/{*}pStyle")
        by_style = by_style if style is None else _value(style, "val") in hiding
        kept = []
        for child in element:
            style = child.find("{*}rPr/{*}rStyle")
            default = by_style or (style is not None and _value(style, "val") in hiding)
            if child.tag in RUNS and (default if (own := _vanishes(child)) is None else own):
                hidden += bool("".join(child.itertext()).strip())
            else:
                kept.append(child)
        element[:] = kept
        rest.extend((child, by_style) for child in kept)
    return hidden


def _vanishes(element: Any) -> bool | None:
    """Return whether a run or a style hides its text, None if it leaves that open."""
    found = element.find("{*}rPr/{*}vanish")
    return None if found is None else _value(found, "val") not in ("0", "false", "off")


def _value(element: Any, name: str) -> str | None:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), None)


def html(path: Path) -> Found:
    from bs4 import BeautifulSoup

    raw = path.read_bytes()
    if other := next((what for start, what in OTHERS.items() if raw.lstrip().startswith(start)), ""):
        raise Unreadable(f"the file is {other}")
    soup = BeautifulSoup(_decoded(raw), "lxml")
    title = soup.title.get_text() if soup.title else ""
    for tag in [*soup(UNSEEN), *soup.select(HIDDEN)]:
        tag.decompose()
    whole = soup.new_tag("div")
    whole.extend([main.extract() for main in soup("main") if not main.find_parent("main")])
    heading, parts = _markdown(whole if whole.contents else soup)
    return heading or " ".join(title.split()), parts, []


def _decoded(raw: bytes) -> str:
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(raw, is_html=True) or "utf-8"
    if declared.lower() in ("iso-8859-1", "latin-1", "us-ascii", "ascii"):
        declared = "windows-1252"  # as browsers read these
    is_utf_16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if is_utf_16 else ("utf-8-sig", declared):
        try:
            return raw.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            pass
    raise Unreadable(f"not {declared.upper()}; save it as UTF-8")


def _markdown(soup: Any) -> tuple[str, dict[str, str]]:
    """Return the first heading of the highest level as the title, and the text; other headings stay below the title."""
    from markdownify import MarkdownConverter

    for link in soup("a"):
        if not any(map(str.isalnum, link.get_text())):  # a sign to copy the link of a heading, such as ¶
            link.decompose()
    for power in soup("sup"):  # 10<sup>6</sup> is not 106; a link is a footnote, and 1<sup>st</sup> an ordinal
        if not power.find("a") and (len(power.get_text()) == 1 or any(map(str.isdigit, power.get_text()))):
            power.insert_before("^")
    for table in reversed(soup("table")):  # inner ones first
        _repeat_spanning(table)
    highest = soup.find_all("h1")
    title = " ".join(highest[0].get_text().split()) if highest else ""
    if highest:
        highest[0].decompose()
    if len(highest) > 1:
        for level in range(5, 0, -1):
            for tag in soup.find_all(f"h{level}"):
                tag.name = f"h{level + 1}"
    how: dict[str, Any] = {
        "heading_style": "ATX",
        "table_infer_header": True,
        "bullets": "-",
        "strip": MARKS,
        "escape_asterisks": False,
        "escape_underscores": False,
    }
    return title, {"": _plain(MarkdownConverter(**how).convert_soup(soup))}


def _repeat_spanning(table: Any) -> None:
    """Repeat each cell that spans several rows in all of them, so that no cell moves to another column."""
    from bs4 import Tag

    groups: dict[int, list[Any]] = {}
    for row in table("tr"):
        if row.find_parent("table") is table:
            groups.setdefault(id(row.parent), []).append(row)
    for rows in groups.values():
        spanning: dict[int, tuple[Any, int]] = {}  # by column: the cell, and how many rows it still spans
        for number, row in enumerate(rows):
            cells = row(["td", "th"], recursive=False)
            column, last, below = 0, max(spanning, default=-1), len(rows) - number - 1
            while cells or column <= last:
                if column in spanning:
                    cell, left = spanning.pop(column)
                    row.append(copy.copy(cell))
                else:
                    cell = cells.pop(0).extract() if cells else Tag(name="td")
                    left = min(_span(cell, "rowspan"), below + 1) or below + 1  # 0: to the last row
                    row.append(cell)
                if left > 1:
                    spanning[column] = (cell, left - 1)
                column += _span(cell, "colspan") or 1


def _span(cell: Any, name: str) -> int:
    """Return how many rows or columns a cell spans."""
    given = str(cell.get(name, "")).strip()
    return int(given[:4]) if given.isdecimal() else 1


def _plain(text: str) -> str:
    """Return text without NUL, ligatures, no-break spaces, blanks at line ends and runs of blank lines."""
    text = LIGATURES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text).encode("utf-8", "replace").decode()
    lines = [line.rstrip() for line in text.replace("\0", "").replace("\xa0", " ").splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


READERS = {".pdf": pdf, ".docx": docx, ".html": html, ".htm": html}

if __name__ == "__main__":
    main(*sys.argv[1:])
