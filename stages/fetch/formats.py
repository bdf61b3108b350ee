"""Open files of rows, and read CSV and TSV as cells, each with its place, in memory for one row.

All readers take an open file, or the rest of one, and the name that errors give it. A file of another form is refused by
what it is, not by the first thing in it that cannot be read.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from stages.errors import DataError

KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}

LONGEST = 10_000_000  # characters of a row
MOST_COLUMNS = 1000
CHUNK = 2**20

# NUL, and surrogates, which come from bytes that are not UTF-8 and from half an escaped pair such as \ud83d in JSON.
UNUSABLE = re.compile("[\0\ud800-\udfff]")
SEPARATORS = (";", "|")  # that are not read
BOM = "\ufeff"
JOINED = "two exports were joined here: delete the header of the second, and its mark"

SAVE = "save the rows as CSV UTF-8, JSON or JSONL"
OTHERS = {  # how files of other forms begin
    b"PK\x03\x04": f"a zip archive, as .xlsx and .docx are; {SAVE}",
    b"\xd0\xcf\x11\xe0": f"an old Excel or Word file; {SAVE}",
    b"%PDF-": f"a PDF; {SAVE}",
    b"PAR1": f"Parquet; {SAVE}",
    b"ARROW1": f"an Arrow file; {SAVE}",
    b"SQLite format 3": f"a database; {SAVE}",
    b"{\\rtf": "RTF; save it as plain text, or a document as .docx",
    b"\x1f\x8b": "compressed with gzip; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xff\xfe": "UTF-16 and not UTF-8; save the file as UTF-8 text (Excel: CSV UTF-8)",
    b"\xfe\xff": "UTF-16 and not UTF-8; save the file as UTF-8 text (Excel: CSV UTF-8)",
    b"version https://git-lfs": "a pointer of Git LFS; run `git lfs pull`",
    b"<!doctype html": f"a web page; {SAVE}",
    b"<html": f"a web page; {SAVE}",
    b"<table": f"a web page, as some programs name .xls; {SAVE}",
    b"<meta": f"a web page, as some programs name .xls; {SAVE}",
    b"<?xml": f"XML; {SAVE}",
}


@dataclass(frozen=True)
class Source:
    """An open file, after its beginning was looked at; `name` is what errors call it."""

    name: str
    head: list[bytes]  # blank lines and the first other line, or its beginning
    file: IO[bytes]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines as bytes; raise DataError for a longer one than any row is."""
        *blank, first = self.head or [b""]
        first += b"" if first.endswith(b"\n") else self.file.readline(LONGEST + 1)
        following = iter(lambda: self.file.readline(LONGEST + 1), b"")
        for number, line in enumerate(chain(blank, filter(None, [first]), following), start=1):
            if len(line) > LONGEST:
                raise DataError(f"{self.name}:{number}: a line of more than {LONGEST:,} bytes; split it or delete it")
            yield line

    def pieces(self) -> Iterator[bytes]:
        return chain(self.head, iter(lambda: self.file.read(CHUNK), b""))

    @property
    def first(self) -> str:
        """Return the first line that is not blank, "" in a blank file."""
        return b"".join(self.head).decode("utf-8-sig", "replace").strip()


def source(file: IO[bytes], name: str, is_text: bool = False) -> Source:
    """Return an open file as a source; raise DataError if it begins as a file of another form does.

    A text may begin with markup.
    """
    head = []
    while line := file.readline(CHUNK):
        head.append(line)
        if line.removeprefix(codecs.BOM_UTF8).strip():
            break
    start = b"".join(head).removeprefix(codecs.BOM_UTF8).lstrip()[:30]
    for beginning, what in OTHERS.items():
        is_markup = beginning.startswith(b"<")
        if (start.lower() if is_markup else start).startswith(beginning) and not (is_markup and is_text):
            raise DataError(f"{name}: the file is {what}")
    return Source(name, head, file)


@contextmanager
def opened(path: Path, is_text: bool = False) -> Iterator[Source]:
    try:
        with path.open("rb") as file:
            yield source(file, str(path), is_text)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None


def text_lines(source: Source) -> Iterator[str]:
    """Yield lines of valid UTF-8 with \\n at their ends, so that ids are equal on Windows; one of them is not blank."""
    empty = True
    for number, raw in enumerate(source.lines(), start=1):
        # surrogateescape lets a bad byte through as a surrogate, so that its line can be named.
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        check(line, f"{source.name}:{number}")
        if line.startswith(BOM):
            raise DataError(f"{source.name}:{number}: a second byte order mark; {JOINED}")
        empty = empty and line.isspace()
        yield line.removesuffix("\r\n") + "\n" if line.endswith("\r\n") else line
    if empty:
        raise DataError(f"{source.name}: the file is empty; give one with rows")


def broken(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, also those that a lone \\r ends, as in old files."""
    return chain.from_iterable(io.StringIO(line, newline=None) if "\r" in line else (line,) for line in lines)


def check(text: str, place: str) -> None:
    """Raise DataError for a NUL byte and for bytes that are not UTF-8."""
    if broken := UNUSABLE.search(text):
        what = "a NUL byte" if broken[0] == "\0" else "not UTF-8"
        raise DataError(f"{place}: {what}; save the file as UTF-8 text (Excel: CSV UTF-8)")


def cells(source: Source) -> Iterator[tuple[str, list[str]]]:
    """Yield the header and the rows that are not blank, each with its first line; a quoted cell may run over many lines.

    Raise DataError if the header is separated by something else, or comes again.
    """
    csv.field_size_limit(LONGEST)  # the default of 128 KiB is less than a long document
    reader = csv.reader(broken(text_lines(source)), delimiter=_separator(source), strict=True)
    names: list[str] = []
    joint, start = BOM, 1
    try:
        for row in reader:
            place, start = f"{source.name}:{start}", reader.line_num + 1
            if not any(row):
                continue
            if not names:
                _check_header(place, row)
                names, joint = _names(row), BOM + row[0]
            elif (row[0].strip().lower() in names and _names(row) == names) or any(joint in cell for cell in row):
                raise DataError(f"{place}: the header again; {JOINED}")
            yield place, row
    except csv.Error as error:
        raise DataError(f'{source.name}:{start}: not CSV: {error}; close each "…" and write "" for a quote inside') from None


def _names(row: Sequence[str]) -> list[str]:
    return sorted(cell.strip().lower() for cell in row)


def _check_header(place: str, header: Sequence[str]) -> None:
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{place}: {len(header):,} columns, more than {MOST_COLUMNS:,}; keep those of the texts")


def _separator(source: Source) -> str:
    """Return a tab if the file ends in .tsv or its header has tabs and no commas, else a comma; refuse other separators."""
    header, place = re.sub('"[^"]*"', "", source.first), f"{source.name}:{len(source.head)}"
    if re.fullmatch('"?sep=.?"?', source.first, re.IGNORECASE):
        raise DataError(f"{place}: {source.first!r} is a note to Excel, which would be read as the header; delete this line")
    if source.name.lower().endswith(".tsv") and "," in header and "\t" not in header:
        raise DataError(f"{place}: the header has commas and no tabs; name the file .csv")
    if source.name.lower().endswith(".tsv") or ("\t" in header and "," not in header):
        return "\t"
    if "," not in header and (others := [sign for sign in SEPARATORS if sign in header]):
        raise DataError(f"{place}: separated by {others[0]!r}; save it with commas")
    return ","


def named(rows: Iterable[tuple[str, list[str]]], header: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the cells of each row by column; raise DataError for a row with more or fewer cells than the header."""
    for place, row in rows:
        if len(row) != len(header):
            hint = 'a cell with a comma, a quote or a line end must stand in "…"'
            raise DataError(f"{place}: {len(row)} cells, but the header has {len(header)}; {hint}")
        yield place, dict(zip(header, row, strict=True))


def within(value: Any) -> str:
    """Return where the rows are in a value that holds them, as a hint; "" if it holds none."""
    found = value.items() if isinstance(value, dict) else ()
    lists = {key: part for key, part in found if part and isinstance(part, list) and all(isinstance(row, dict) for row in part)}
    if lists:
        keys = " and ".join(repr(key[:40]) for key in list(lists)[:10])
        return f"its rows are in {keys}: save that list alone as .json"
    columns = [part for _, part in found if isinstance(part, list | dict)]
    if len(columns) > 1 and len(columns) == len(value) and len({len(part) for part in columns}) == 1:
        return "it is written by columns: save it by rows (pandas: orient='records')"
    return ""


def kind_of(value: Any) -> str:
    return KINDS.get(type(value), "a number")
