"""Nothing from data reaches a terminal as a control sequence: errors, warnings, traces, tables."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from stages import cli, records, stage
from stages.commands.doctor import command
from stages.commands.doctor.finding import Finding
from stages.errors import DataError
from stages.records import Document
from stages.report import table
from stages.terminal import visible

SEQUENCES = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "ok\rerror", "a\x08b", "\u202egpj", "\x7f", "\ud800"]


@pytest.mark.parametrize("text", SEQUENCES)
def test_control_characters_are_written_out(text: str) -> None:
    assert visible(text).isprintable() and len(visible(text)) > len(text)


@pytest.mark.parametrize("text", ["two\nlines", "a\tb", "你好 🙂", "مرحبا", "x \\x1b"])
def test_usual_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("error", [DataError, lambda text: OSError(2, "no such file", text), lambda text: OSError(text)])
@pytest.mark.parametrize("text", SEQUENCES)
def test_errors_hold_no_control_characters(text: str, error: Any) -> None:
    def main() -> None:
        raise error(f"rows.csv:1: {text}: unknown")

    with pytest.raises(SystemExit) as ended:
        stage.run(main)
    assert str(ended.value.code).isprintable()


@pytest.mark.parametrize("text", SEQUENCES)
def test_logged_warnings_hold_no_control_characters(text: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own; without any, logging prints through `lastResort`
    stage.run(lambda: logging.getLogger("stages.fetch").warning("%s: left out", f"{text}.md"))
    printed = capsys.readouterr().err
    assert printed.endswith(".md: left out\n") and printed.strip().isprintable()


@pytest.mark.parametrize("text", SEQUENCES[:-1])  # a file holds no half surrogate
def test_trace_holds_no_control_characters(text: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    document = Document(text=f"Fees: {text} end", kind="document", source=f"{text}.md")
    records.write(tmp_path / "data/raw/documents.jsonl", [document])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tunetrail", "trace", document.id])
    cli.main()
    printed = capsys.readouterr().out
    assert "Fees: " in printed and printed.replace("\n", "").isprintable()


@pytest.mark.parametrize("key", ["[/b]", "[red]x", "[link=https://evil.example]x[/link]", ":warning:", *SEQUENCES])
def test_table_shows_keys_as_they_are(key: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    numbers = {key: 0.5, f"{key}_lo": 0.4, f"{key}_hi": 0.6, "n": 3}
    difference = {**numbers, "against": "base_0shot", f"{key}_verdict": key}
    table.show({"tuned": numbers, "base_0shot": numbers, "difference": difference, "split": key}, Path("reports/x"))
    printed = capsys.readouterr().out
    assert printed.count(visible(key)) == 3 and printed.replace("\n", "").isprintable()


def test_doctor_shows_names_of_files_without_control_characters(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(command, "find", lambda root: [Finding("warning", "a\x1b[2J.part", "half-written", "delete it")])
    command.doctor(fix=False)
    assert "a\\x1b[2J.part" in capsys.readouterr().out
