"""Documents cut into passages: at headings, then after a number of words. Self-QA asks about them, retrieval searches them.

A passage repeats the headings above it, so that it says by itself what it is about. Words are counted as in a text with
spaces; a Chinese, Japanese or Korean character counts as one, and so do four characters of a run too long to be a word, as
in Thai.
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
    """Passages of at most `size.words` words below their headings, whole lines or sentences where these are short enough.

    Neighbours under one heading share whole lines or sentences of together at most `size.overlap` words; where the last one is
    longer, its last words, as many as there is room for.
    """
    found = [
        Document(text="\n".join([*headings, piece]), kind="passage", source=document.source, parents=(document.id,))
        for headings, body in _sections(document.text)
        for piece in _pieces(body, size)
    ]
    return list({passage.id: passage for passage in found}.values())


def headings(passage: Document) -> list[str]:
    """What stands over a passage, from the document's own heading down; its source where it has none."""
    lines = list(itertools.takewhile(HEADING.fullmatch, passage.text.split("\n")))
    return [HEADING.sub(r"\2", line) for line in lines] or [passage.source]


def is_cjk(text: str) -> bool:
    """Whether most of its letters are Chinese, Japanese or Korean."""
    return 2 * len(re.findall(f"[{CJK}]", text)) > len(re.findall(r"\w", re.sub(r"\{\w+\}", "", text)))


def _sections(text: str) -> Iterator[tuple[list[str], str]]:
    """Each heading's path and the text below it; text before the first heading has none. Code between ``` has no headings."""
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
    """Its last words as a part of their own; none where the part after it leaves them no room."""
    return [part[[match.start() for match in WORD.finditer(part)][-words] :]] if words > 0 else []


def _parts(line: str, size: Passage) -> list[str]:
    """A line whole, else its sentences, else windows small enough to be shared by neighbours."""
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
