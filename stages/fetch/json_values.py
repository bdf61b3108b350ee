"""Read the values of JSON and JSONL files, each with its place, in memory for one row."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from stages.errors import DataError
from stages.fetch.formats import LONGEST, UNUSABLE, Source, check, kind_of, text_lines, within
from stages.fetch.strict_json import DECODER, loads, refuse_deep

# What stands where JSON ends, and its cause.
CAUSES = (
    (re.compile(r"//|/\*|#"), "JSON has no comments: delete them"),
    (re.compile(r"'"), "write keys and texts in double quotes (Python: json.dumps)"),
    (re.compile(r"(?:True|False|None)\b"), "write true, false and null (Python: json.dumps)"),
    (re.compile(r",\s*$|[]}]"), "delete the comma at the end"),
)
LONGEST_WORD = 20  # of JSON, such as -Infinity or \ud83d; where a piece cuts one, the error stands at its beginning
SPACE = re.compile(r"\s*")


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
            check(added, f"{self._name}:{where}")
        self._text, self._place = after + added, 0


def decoded(text: str, name: str, number: int, hint: str) -> Any:
    """Return the value that a line holds; raise DataError if it is not JSON."""
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
