"""Passages cover the document, repeat its headings, keep their size and share their overlap."""

import itertools

import pytest

from stages.params import Passage
from stages.records import Document
from stages.text.passages import WORD, cut, headings


def pieces(text: str, words: int = 10, overlap: int = 3) -> list[str]:
    document = Document(text=text, kind="document", source="d")
    passages = cut(document, Passage(words=words, overlap=overlap))
    assert all(passage.parents == (document.id,) and passage.source == "d" for passage in passages)
    return [passage.text for passage in passages]


def test_a_passage_repeats_the_headings_above_it() -> None:
    text = "# Bank\nopening\n## Fees\nnone\n### Cards\nblue\n## Interest\ndaily"
    assert pieces(text) == [
        "# Bank\nopening",
        "# Bank\n## Fees\nnone",
        "# Bank\n## Fees\n### Cards\nblue",
        "# Bank\n## Interest\ndaily",
    ]


def test_lines_stay_whole_and_neighbours_share_whole_lines() -> None:
    lines = [f"line {i} has five words" for i in range(5)]
    assert pieces("\n".join(lines), words=15, overlap=5) == ["\n".join(lines[:3]), "\n".join(lines[2:])]
    assert pieces("\n".join(lines), words=15, overlap=4) == ["\n".join(lines[:3]), "\n".join(["2 has five words", *lines[3:]])]


def test_a_long_line_is_cut_between_sentences() -> None:
    assert pieces("One two three four. Five six seven eight. Nine ten.", words=6, overlap=0) == [
        "One two three four.",
        "Five six seven eight. Nine ten.",
    ]


def test_neighbours_share_the_last_words_of_a_long_line() -> None:
    lines = [" ".join(f"{name}{i}" for i in range(7)) for name in "ab"]
    assert pieces("\n".join(lines), words=10, overlap=3) == [lines[0], f"a4 a5 a6\n{lines[1]}"]
    assert pieces("\n\n".join(lines), words=10, overlap=3) == [lines[0], f"a4 a5 a6\n{lines[1]}"]
    assert pieces("\n".join(lines), words=8, overlap=3) == [lines[0], f"a6\n{lines[1]}"]  # room for one
    assert pieces("\n".join(lines), words=7, overlap=3) == lines
    assert pieces("\n".join(lines), words=10, overlap=0) == lines


def test_comment_in_code_is_not_a_heading() -> None:
    text = "# Setup\nrun\n```sh\n# first\nmake\n```\n## Next\n```one``` line\n## Last\nend"
    assert pieces(text) == [
        "# Setup\nrun\n```sh\n# first\nmake\n```",
        "# Setup\n## Next\n```one``` line",
        "# Setup\n## Last\nend",
    ]
    (first, *_) = cut(Document(text=text, kind="document", source="d"), Passage(words=10, overlap=3))
    assert headings(first) == ["Setup"]


def test_a_run_without_spaces_counts_by_its_characters() -> None:
    assert [len(WORD.findall(text)) for text in ("x" * 24, "x" * 25, "x" * 20_000, "ก" * 101)] == [1, 7, 5000, 26]
    text = "".join(chr(0xE01 + i) for i in range(46)) * 2
    assert pieces(text, words=10, overlap=0) == [text[:40], text[40:80], text[80:]]


@pytest.mark.parametrize("text", [" ".join(f"w{i}" for i in range(50)), "汉" * 20 + "字" * 30])
def test_endless_text_is_cut_at_the_limit(text: str) -> None:
    found = pieces(text, words=20, overlap=5)
    counted = [WORD.findall(piece) for piece in found]
    assert max(map(len, counted)) == 20
    assert all(a[-5:] == b[:5] for a, b in itertools.pairwise(counted))
    assert counted[0] + [word for piece in counted[1:] for word in piece[5:]] == WORD.findall(text)


@pytest.mark.parametrize("text", ["", "\n\n", "# Heading alone"])
def test_a_document_without_text_has_no_passage(text: str) -> None:
    assert pieces(text) == []


def test_a_passage_without_headings_is_named_by_its_source() -> None:
    (passage,) = cut(Document(text="text", kind="document", source="note.txt"), Passage(words=9, overlap=0))
    assert headings(passage) == ["note.txt"]
