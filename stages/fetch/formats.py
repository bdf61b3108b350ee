"""Read CSV, TSV, JSON and JSONL as cells and values, each with its place, in memory for one row.

All readers take an open file, or the rest of one, and the name that errors give it. A file of another form is refused by
what it is, not by the first thing in it that cannot be read.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from stages.errors import DataError
from stages.fetch.strict_json import DECODER, loads, refuse_deep

KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}

LONGEST = 10_000_000  # characters of a row
MOST_COLUMNS = 1000
CHUNK = 2**20
# What stands where JSON ends, and its cause.
CAUSES = (
    (re.compile(r"//|/\*|#"), "JSON has no comments: delete them"),
    (re.compile(r"'"), "write keys and texts in double quotes (Python: json.dumps)"),
    (re.compile(r"(?:True|False|None)\b"), "write true, false and null (Python: json.dumps)"),
    (re.compile(r",\s*$|[]}]"), "delete the comma at the end"),
)
LONGEST_WORD = 20  # of JSON, such as -Infinity or \ud83d; where a piece cuts one, the error stands at its beginning

# NUL, and surrogates, which come from bytes that are not UTF-8 and from half an escaped pair such as \ud83d in JSON.
UNUSABLE = re.compile("[\0\ud800-\udfff]")
SEPARATORS = (";", "|")  # that are not read
BOM = "\ufeff"
JOINED = "two exports were joined here: delete the header of the second, and its mark"
SPACE = re.compile(r"\s*")

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
        _check(line, f"{source.name}:{number}")
        if line.startswith(BOM):
            raise DataError(f"{source.name}:{number}: a second byte order mark; {JOINED}")
        empty = empty and line.isspace()
        yield line.removesuffix("\r\n") + "\n" if line.endswith("\r\n") else line
    if empty:
        raise DataError(f"{source.name}: the file is empty; give one with rows")


def broken(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, also those that a lone \\r ends, as in old files."""
    return chain.from_iterable(io.StringIO(line, newline=None) if "\r" in line else (line,) for line in lines)


def _check(text: str, place: str) -> None:
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


def json_lines(source: Source) -> Iterator[tuple[str, Any]]:
    """Yield the value on each line that is not blank."""
    hint = "each line must be one object; name a file with one list .json"
    for number, line in enumerate(text_lines(source), start=1):
        if not line.isspace():
            yield f"{source.name}:{number}", decoded(line, source.name, number, hint)


def json_list(source: Source) -> Iterator[tuple[str, Any]]:
    """Yield the values of a list, without keeping them."""
    hint = "name a file with one object per line .jsonl"
    name, text = source.name, _Values(source)
    if not text.next():
        raise DataError(f"{name}: the file is empty; give one with rows")
    if text.next() != "[":
        value = text.value(hint, "a file of rows must hold a list of objects, or be named .jsonl with one per line")
        if text.next():
            raise text.error("Extra data", hint)
        raise DataError(f"{name}: must hold a list of objects, got {kind_of(value)}; {within(value) or hint}")
    text.skip()
    for number in range(1, 2**63):
        if number == 1 and text.next() == "]":
            break
        yield f"{name}: row {number}", text.value(hint)
        if (sign := text.next()) not in ("]", ","):
            raise text.error("Expecting ',' delimiter" if sign else "the list does not end", hint)
        if sign == "]":
            break
        text.skip()
        if text.next() == "]":
            raise text.error("Illegal trailing comma before end of array", hint)
    text.skip()
    if text.next():
        raise text.error("text after the list; if two lists were joined, join their rows", hint)


class _Values:
    """The rest of a JSON file whose values are read one after the other."""

    def __init__(self, source: Source) -> None:
        self._pieces, self._name = source.pieces(), source.name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text, self._place = "", 0  # what was decoded, and where the next sign of it is
        self._line = self._column = 1  # of the text's first character
        self._ended = False

    def next(self) -> str:
        """Return the next sign other than white space, "" at the end of the file."""
        self._place = SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
        while self._place == len(self._text) and not self._ended:
            self._more()
            self._place = SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
        return self._text[self._place : self._place + 1]

    def skip(self) -> None:
        self._place += 1

    def value(self, hint: str, shorten: str = "split it or delete it") -> Any:
        """Return the next value; raise DataError if it is longer than any row is, with a hint how to shorten it."""
        self.next()
        wanted = 0  # characters to have before the next attempt; doubled, so that a long value takes linear time
        while True:
            while len(self._text) - self._place < wanted and not self._ended:
                self._more()
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
                if end > len(self._text) - LONGEST_WORD and not self._ended:  # -1.5e may be cut before its -7
                    raise json.JSONDecodeError("may go on", self._text, end)
            except json.JSONDecodeError as error:
                there = len(self._text) - self._place
                may_go_on = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - LONGEST_WORD
                if self._ended or not may_go_on:
                    self._place = error.pos
                    raise self.error(error.msg, hint) from None
                if there > LONGEST:
                    raise self.error(f"a value of more than {LONGEST:,} characters", shorten) from None
                wanted = 2 * there + 1
                continue
            except (ValueError, RecursionError) as error:
                raise self.error("nested too deeply" if isinstance(error, RecursionError) else str(error), hint) from None
            try:
                refuse_deep(value)
            except ValueError as error:
                raise self.error(str(error), hint) from None
            self._place = end
            return value

    def error(self, why: str, hint: str) -> DataError:
        """Return an error at the next sign."""
        before, hint = self._text[: self._place], _cause(self._text, self._place) or hint
        line = self._line + before.count("\n")
        column = self._place - before.rfind("\n") if "\n" in before else self._column + self._place
        return DataError(f"{self._name}:{line}: not JSON: {why} at column {column}; {hint}")

    def _more(self) -> None:
        before, after = self._text[: self._place], self._text[self._place :]
        self._column = len(before) - before.rfind("\n") if "\n" in before else self._column + len(before)
        self._line += before.count("\n")
        piece = next(self._pieces, b"")
        self._ended = not piece
        added = self._decoder.decode(piece, final=self._ended)
        if UNUSABLE.search(added):
            where = self._line + (after + added[: UNUSABLE.search(added).start()]).count("\n")  # type: ignore[union-attr]
            _check(added, f"{self._name}:{where}")
        self._text, self._place = after + added, 0


def decoded(text: str, name: str, number: int, hint: str) -> Any:
    """Return the value on a line; raise DataError if it is not JSON."""
    try:
        return loads(text)
    except json.JSONDecodeError as error:
        where, hint = f"{name}:{number + error.lineno - 1}", _cause(text, error.pos) or hint
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}; {hint}") from None
    except ValueError as error:
        raise DataError(f"{name}:{number}: not JSON: {error}; {hint}") from None


def _cause(text: str, place: int) -> str:
    """Return a hint if the text at a place shows why it is not JSON, otherwise ""."""
    start = text[place : place + LONGEST_WORD]
    return next((hint for pattern, hint in CAUSES if pattern.match(start)), "")


def within(value: Any) -> str:
    """Return where the rows are in a value that is not a row, as a hint; "" if it holds none."""
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
