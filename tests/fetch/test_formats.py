"""Files that are not what they seem: what each is, where, and what to do; and rows that are read as a stream."""

import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import formats, json_values, table
from tests.fixtures.own_rows import ASKED, read, save

ROW = '{"input": "a", "output": "b"}'
CSV = "input,output\r\nWhich tray holds lot 1?,tray 3\r\n"
JOINED = "two exports were joined here"


def refusal(folder: Path, name: str, content: str | bytes, columns: dict[str, str] = ASKED) -> str:
    """Return the line that refuses a file, without its folder."""
    with pytest.raises(DataError) as error:
        read(save(folder, name, content), columns)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("joined.csv", f"\ufeff{CSV}\ufeff{CSV}", "joined.csv:3: a second byte order mark; "),
        ("joined.csv", CSV + CSV, "joined.csv:3: the header again; "),
        ("joined.csv", CSV + "\r\n" + CSV, "joined.csv:4: the header again; "),
        ("joined.csv", CSV + "output,input\r\nb,a\r\n", "joined.csv:3: the header again; "),
        ("joined.csv", CSV + "Input,Output\r\nb,a\r\n", "joined.csv:3: the header again; "),
        ("joined.csv", CSV + "input ,output\r\na,b\r\n", "joined.csv:3: the header again; "),
        ("joined.csv", f"{CSV.rstrip()}\ufeff{CSV}", "joined.csv:2: the header again; "),
        ("joined.csv", f'{CSV}"a\r\nb",c\r\n{CSV}', "joined.csv:5: the header again; "),
        ("joined.csv", "id,input,output\n1,a,b\nno,input,output\n", "joined.csv:3: the header of another export; "),
        ("joined.tsv", "input\toutput\na\tb\ninput\toutput\n", "joined.tsv:3: the header again; "),
        ("joined.jsonl", f"\ufeff{ROW}\n\ufeff{ROW}\n", "joined.jsonl:2: a second byte order mark; "),
        ("joined.csv", f"\ufeff\ufeff{CSV}", "joined.csv:1: a second byte order mark; "),
    ],
    ids=[
        "marks",
        "headers",
        "blank line",
        "order",
        "another case",
        "blanks",
        "no line end",
        "quoted",
        "other columns",
        "TSV",
        "JSONL",
        "first",
    ],
)
def test_joined_export_is_refused_by_line(tmp_path: Path, name: str, content: str, line: str) -> None:
    assert refusal(tmp_path, name, content).startswith(line + JOINED)


def test_joined_lists_are_refused_by_line(tmp_path: Path) -> None:
    line = refusal(tmp_path, "joined.json", f"[{ROW}]\n[{ROW}]\n")
    assert line.startswith(
        "joined.json:2: not JSON: text after the list; if two lists were joined, join their rows at column 1"
    )


def test_mark_and_name_of_a_column_within_a_text_stay(tmp_path: Path) -> None:
    found = read(save(tmp_path, "mine.csv", "input,output\na \ufeff b,input\ninput,c\n"))
    assert [(task.input, task.output) for task in found] == [("a \ufeff b", "input"), ("input", "c")]


@pytest.mark.parametrize(("separator", "named"), [(";", "';'"), ("|", "'|'")])
@pytest.mark.parametrize("header", ["input{}output", '"input"{}"output"', "\ufeffinput{}output"])
def test_other_separator_is_named(tmp_path: Path, separator: str, named: str, header: str) -> None:
    line = refusal(tmp_path, "mine.csv", header.format(separator) + f"\nWhich, say?{separator}tray 3\n")
    assert line == f"mine.csv:1: separated by {named}; save it with commas"


@pytest.mark.parametrize("name", ["mine.tsv", "mine.TSV", "mine.csv"])
def test_tabs_are_read(tmp_path: Path, name: str) -> None:
    (task,) = read(save(tmp_path, name, 'input\toutput\n"Which, say?"\ttray; 3\n'))
    assert (task.input, task.output) == ("Which, say?", "tray; 3")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("mine.csv", "sep=,\ninput,output\n", "mine.csv:1: 'sep=,' is a note to Excel, which would be read as the header"),
        ("mine.csv", '\ufeff"sep=;"\r\ninput;output\r\n', "mine.csv:1: '\"sep=;\"' is a note to Excel"),
        ("mine.csv", "\nSEP=\t\ninput\toutput\n", "mine.csv:2: 'SEP=' is a note to Excel"),
        ("mine.tsv", "input,output\na,b\n", "mine.tsv:1: the header has commas and no tabs; name the file .csv"),
        (
            "mine.csv",
            "Where is it?,Here.\nWhat?,That.\n",
            "mine.csv:1: no column 'input'; There are 'Where is it?', 'Here.'; if this",
        ),
        (
            "mine.csv",
            "a good film,1\na bad film,0\n",
            "mine.csv:1: no column 'input'; There are 'a good film', '1'; if this line",
        ),
    ],
)
def test_first_line_that_is_no_header_is_named(tmp_path: Path, name: str, content: str, line: str) -> None:
    assert refusal(tmp_path, name, content).startswith(line)


@pytest.mark.parametrize("header", ["input, output", "input,output ", "input,\u00a0output", "input,\toutput"])
def test_blank_in_a_header_is_named(tmp_path: Path, header: str) -> None:
    line = refusal(tmp_path, "mine.csv", f"{header}\na,b\n")
    assert line.startswith(f"mine.csv:1: no column 'output'; {header.split(',')[1]!r} has blanks around it: delete them")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04\x14\0", "a zip archive, as .xlsx and .docx are"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"SQLite format 3\0", "a database"),
        (gzip.compress(CSV.encode(), mtime=0), "compressed with gzip"),
        (CSV.encode("utf-16"), "UTF-16 and not UTF-8"),
        (b"{\\rtf1\\ansi Which tray?}", "RTF; save it as plain text, or a document as .docx"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS; run `git lfs pull`"),
        (b"\n <!DOCTYPE HTML>\n<title>Sign in</title>", "a web page"),
        (b"<html lang='en'>", "a web page"),
        (b"<table border=1><tr><td>input</td></tr></table>", "a web page, as some programs name .xls"),
        (b'<meta http-equiv="Content-Type"><table>', "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "XML"),
    ],
)
@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.json", "mine.jsonl"])
def test_file_of_another_form_is_named(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    assert refusal(tmp_path, name, content).startswith(f"{name}: the file is {what}")


@pytest.mark.parametrize("name", ["mine.jsonl.gz", "mine.txt", "mine"])
def test_file_of_another_ending_is_named_by_its_form(tmp_path: Path, name: str) -> None:
    assert (
        refusal(tmp_path, name, gzip.compress(CSV.encode(), mtime=0)) == f"{name}: the file is compressed with gzip; unpack it"
    )
    assert refusal(tmp_path, name, CSV).startswith(f"{name}: must end in .csv, .tsv, .json")


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("mine.json", f"// export\n[{ROW}]", "JSON has no comments: delete them"),
        ("mine.json", f"[/* one */ {ROW}]", "JSON has no comments: delete them"),
        ("mine.jsonl", f"# export\n{ROW}\n", "JSON has no comments: delete them"),
        ("mine.jsonl", f"{ROW} # one\n", "JSON has no comments: delete them"),
        ("mine.jsonl", f"{ROW},\n{ROW}\n", "delete the comma at the end"),
        ("mine.json", f"[{ROW},]", "delete the comma at the end"),
        ("mine.json", '[{"input": "a", "output": "b",}]', "delete the comma at the end"),
        ("mine.jsonl", "{'input': 'a'}\n", "write keys and texts in double quotes (Python: json.dumps)"),
        ("mine.jsonl", '{"input": None}\n', "write true, false and null (Python: json.dumps)"),
        ("mine.jsonl", f"[{ROW}]", "name a file with one list .json"),
    ],
)
def test_cause_of_broken_json_is_named(tmp_path: Path, name: str, content: str, hint: str) -> None:
    assert refusal(tmp_path, name, content).endswith(f"; {hint}")


LONG = "x" * (formats.LONGEST + 1)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("mine.csv", f"input,output\na,b\n{LONG},b\n", "mine.csv:3: a line of more than 10,000,000 bytes"),
        ("mine.jsonl", f'{ROW}\n{{"input": "{LONG}"}}\n', "mine.jsonl:2: a line of more than 10,000,000 bytes"),
        ("mine.jsonl", f'{{"input": "{LONG}"}}\n', "mine.jsonl:1: a line of more than 10,000,000 bytes"),
        ("mine.json", f'[{ROW},\n{{"input": "{LONG}{LONG}"}}]', "mine.json:2: not JSON: a value of more than 10,000,000 char"),
        (
            "mine.csv",
            "input,output\n" + '"' + "a\n" * 5_000_001 + '",b\n',
            "mine.csv:2: not CSV: field larger than field limit",
        ),
        ("mine.csv", "input,output," + ",".join(map(str, range(10_000))) + "\n", "mine.csv:1: 10,002 columns, more than 1,000"),
        (
            "mine.jsonl",
            json.dumps(json.loads(ROW) | dict.fromkeys(map(str, range(10_000)))),
            "mine.jsonl:1: more than 1,000 col",
        ),
        ("mine.jsonl", "".join(ROW[:-1] + f', "{n}": 1}}\n' for n in range(1000)), "mine.jsonl:999: more than 1,000 columns"),
        ("mine.jsonl", ROW + "\n" + "[" * 10_000, "mine.jsonl:2: not JSON: nested too deeply"),
        ("mine.json", f"[{ROW},\n" + "[" * 10_000 + "]" * 10_000, "mine.json:2: not JSON: nested too deeply"),
        ("mine.json", f"[{ROW},\n" + '{"a":' * 500 + "1" + "}" * 500 + "]", "mine.json:2: not JSON: nested too deeply"),
        ("mine.csv", "input,output\na,b\nc\0,d\n", "mine.csv:3: a NUL byte"),
        ("mine.json", f"[{ROW},\n\n\0", "mine.json:3: a NUL byte"),
        ("mine.json", b'[\n{"input": "M\xfcller"', "mine.json:2: not UTF-8"),
        (
            "mine.jsonl",
            '{"input": "\\ud83d", "output": "b"}',
            "mine.jsonl:1: 'input' holds \\u0000 or half of a surrogate pair",
        ),
        ("mine.json", '[{"input": "\\u0000", "output": "b"}]', "mine.json: row 1: 'input' holds \\u0000 or half"),
        (
            "mine.json",
            f'{{"data": [{{"input": "{LONG}{LONG}"}}]}}',
            "mine.json:1: not JSON: a value of more than 10,000,000 characters at column 1; a file of rows must hold a list",
        ),
        ("mine.json", f"[{ROW}, " + "9" * 5000 + "]", "mine.json:1: not JSON: Exceeds the limit"),
    ],
)
def test_row_beyond_a_limit_is_one_line(tmp_path: Path, name: str, content: str | bytes, line: str) -> None:
    assert refusal(tmp_path, name, content).startswith(line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"[{ROW}\n{ROW}]", "mine.json:2: not JSON: Expecting ',' delimiter at column 1"),
        (f"[{ROW},\n]", "mine.json:2: not JSON: Illegal trailing comma before end of array at column 1"),
        (f"[{ROW}\n", "mine.json:2: not JSON: the list does not end"),
        (f'[{ROW},\n  {{"input": "a" "b"}}, {"1, " * 90}', "mine.json:2: not JSON: Expecting ',' delimiter at column 17"),
        (f'[{ROW},\n{{"input": "a', "mine.json:2: not JSON: Unterminated string starting at at column 11"),
        (f"[{ROW},\n  NaN]", "mine.json:2: not JSON: NaN is not a JSON value at column 3"),
        (f"{ROW}\n{ROW}\n", "mine.json:2: not JSON: Extra data at column 1; name a file with one object per line .jsonl"),
        (f'{{"data":\n[{ROW}]}}\n', "mine.json: must hold a list of objects, got an object; its rows are in 'data': save that"),
        (
            f'{{"n": 1, "train": [{ROW}], "test": [{ROW}]}}',
            "mine.json: must hold a list of objects, got an object; its rows are in 'train' and 'test': save that",
        ),
        (
            '{"input": ["a"], "output": ["b"]}',
            "mine.json: must hold a list of objects, got an object; it is written by columns",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 2**20])
def test_broken_list_is_named_by_line_and_column(tmp_path: Path, monkeypatch: Any, content: str, line: str, size: int) -> None:
    monkeypatch.setattr(formats, "CHUNK", size)
    assert refusal(tmp_path, "mine.json", content).startswith(line)


VALUES = [None, True, -1.5e-7, 10**20, "", '\ud83d\ude00 Ü \u2028 \\ "', [], {}, [[1, [2]], {"a": {"b": [3]}}], "x" * 3000, 12]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii", [True, False])
def test_list_in_pieces_equals_the_list(size: int, indent: int | None, ascii: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(formats, "CHUNK", size)
    values = json.loads(json.dumps(VALUES))
    text = json.dumps(values, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    found = json_values.json_list(formats.source(io.BytesIO(b"\xef\xbb\xbf\n" + text + b"\n "), "mine"))
    assert [value for _, value in found] == values


@pytest.mark.parametrize("name", ["mine.csv", "mine.json", "mine.jsonl"])
def test_rows_are_read_as_a_stream(tmp_path: Path, name: str) -> None:
    text = "word " * 2000
    content = {
        "mine.csv": "input,output\n" + f"{text},b\n" * 3000,
        "mine.jsonl": (json.dumps({"input": text, "output": "b"}) + "\n") * 3000,
        "mine.json": json.dumps([{"input": text, "output": "b"}] * 3000),
    }[name]
    path = save(tmp_path, name, content)
    tracemalloc.start()
    try:
        assert sum(1 for _ in table.read(path, ASKED)) == 3000
        assert tracemalloc.get_traced_memory()[1] < len(content) / 2
    finally:
        tracemalloc.stop()


def test_old_mac_line_ends_are_read(tmp_path: Path) -> None:
    found = read(save(tmp_path, "mine.csv", 'input,output\ra,"b\rc"\rd,e\r'))
    assert [(task.input, task.output) for task in found] == [("a", "b\nc"), ("d", "e")]
