"""Cut documents into passages: at headings, then after a number of words. Self-QA asks about them, retrieval searches them.

A passage repeats the headings above it, so that its topic is clear without the document. Words are separated by spaces.
Each Chinese, Japanese or Korean character counts as a word, and so do four characters of a run too long to be a word (Thai).
"""

import itertools
import re
from collections.abc import Iterator

from stages.params import Passage
from stages.records import Document
from stages.text.words import CJK

HEADING = re.compile(r"(#{1,6})\s+(\S.{0,999})")  # each passage repeats it, so a longer line is text
LETTER = rf"[^\s{CJK}]"
WORD = re.compile(rf"[{CJK}]|(?<!{LETTER}){LETTER}{{1,24}}(?!{LETTER})|{LETTER}{{1,4}}")
FENCE = re.compile(r"\s*```[^`]*")
SENTENCE_END = re.compile(r"(?<=[.!?]\s)|(?<=[。！？；])")


def cut(document: Document, size: Passage) -> list[Document]:
    """Return passages of at most `size.words` words below their headings; short lines and sentences stay whole.

    Neighbours under one heading share whole lines or sentences of together at most `size.overlap` words. If the last line or
    sentence is longer, they share as many of its last words as fit.
    """
    found = [
        Document(text="\n".join([*headings, piece]), kind="passage", source=document.source, parents=(document.id,))
        for headings, body in _sections(document.text)
        for piece in _pieces(body, size)
    ]
    return list({passage.id: passage for passage in found}.values())


def headings(passage: Document) -> list[str]:
    """Return the headings above a passage, from the document's own down; its source if it has none."""
    lines = list(itertools.takewhile(HEADING.fullmatch, passage.text.split("\n")))
    return [HEADING.sub(r"\2", line) for line in lines] or [passage.source]


def is_cjk(text: str) -> bool:
    """Return whether most letters are Chinese, Japanese or Korean."""
    return 2 * len(re.findall(f"[{CJK}]", text)) > len(re.findall(r"\w", re.sub(r"\{\w+\}", "", text)))


def _sections(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield each heading's path and the text below it; code between ``` has no headings."""
    path: list[str] = []
    body: list[str] = []
    is_code = False
    for line in text.split("\n"):
        is_code ^= bool(FENCE.fullmatch(line))
        if not is_code and (heading := HEADING.fullmatch(line.strip())):
            yield path, "\n".join(body)
            path = [above for above in path if above.index(" ") < len(heading[1])] + [f"{heading[1]} {heading[2]}"]
            body = []
        else:
            body.append(line)
    yield path, "\n".join(body)


def _pieces(body: str, size: Passage) -> Iterator[str]:
    rest = [(part, _words(part)) for line in body.splitlines(keepends=True) for part in _parts(line, size)][::-1]
    while rest:
        piece = [rest.pop()]
        words = piece[0][1]
        while rest and words + rest[-1][1] <= size.words:
            piece.append(rest.pop())
            words += piece[-1][1]
        if text := "".join(part for part, _ in piece).strip("\n").rstrip():
            yield text
        if not rest:
            return
        last, longest = next((part for part in reversed(piece) if part[1]), ("", 0))
        if longest > size.overlap:
            rest += _tail(last, min(size.overlap, size.words - rest[-1][1]))
            continue
        shared = 0
        while len(piece) > 1 and (shared := shared + piece[-1][1]) <= size.overlap:
            rest.append(piece.pop())


def _tail(part: str, words: int) -> list[tuple[str, int]]:
    """Return the part's last words as a part of their own; none if the next part leaves no room."""
    if words <= 0:
        return []
    tail = part[[match.start() for match in WORD.finditer(part)][-words] :]
    return [(tail, _words(tail))]


def _parts(line: str, size: Passage) -> list[str]:
    """Return a line whole, or its sentences, or windows small enough for neighbours to share."""
    if _words(line) <= size.words:
        return [line]
    parts = []
    for sentence in SENTENCE_END.split(line):
        starts = [match.start() for match in WORD.finditer(sentence)]
        step = len(starts) or 1 if len(starts) <= size.words else size.overlap or size.words
        borders = [0, *starts[step::step], len(sentence)]
        parts += [sentence[a:b] for a, b in itertools.pairwise(borders)]
    return parts


def _words(text: str) -> int:
    return len(WORD.findall(text))
