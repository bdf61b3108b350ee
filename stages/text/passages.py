"""Cut documents into passages: at headings, then after a number of words. Self-QA asks about them, retrieval searches them.

A passage repeats the headings above it, so that its topic is clear without the document. Words are separated by spaces.
Each Chinese, Japanese or Korean character counts as a word, and so do four characters of a run too long to be a word (Thai).
"""

import itertools
import re
from collections.abc import Iterator

from stages.params import Passage
from stages.records import Document

HEADING = re.compile(r"(#{1,6})\s+(.+)")
CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
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
    parts = [part for line in body.splitlines(keepends=True) for part in _parts(line, size)]
    start = 0
    while start < len(parts):
        end = start + 1
        while end < len(parts) and _words(parts[start : end + 1]) <= size.words:
            end += 1
        if piece := "".join(parts[start:end]).strip("\n").rstrip():
            yield piece
        back = end
        while end < len(parts) and back - 1 > start and _words(parts[back - 1 : end]) <= size.overlap:
            back -= 1
        last = next((part for part in reversed(parts[start:end]) if _words([part])), "")
        if end < len(parts) and _words([last]) > size.overlap:
            back = end
            parts[end:end] = _tail(last, min(size.overlap, size.words - _words([parts[end]])))
        start = back


def _tail(part: str, words: int) -> list[str]:
    """Return the part's last words as a part of their own; none if the next part leaves no room."""
    return [part[[match.start() for match in WORD.finditer(part)][-words] :]] if words > 0 else []


def _parts(line: str, size: Passage) -> list[str]:
    """Return a line whole, or its sentences, or windows small enough for neighbours to share."""
    if _words([line]) <= size.words:
        return [line]
    parts = []
    for sentence in SENTENCE_END.split(line):
        starts = [match.start() for match in WORD.finditer(sentence)]
        step = len(starts) or 1 if len(starts) <= size.words else size.overlap or size.words
        borders = [0, *starts[step::step], len(sentence)]
        parts += [sentence[a:b] for a, b in itertools.pairwise(borders)]
    return parts


def _words(parts: list[str]) -> int:
    return sum(len(WORD.findall(part)) for part in parts)
