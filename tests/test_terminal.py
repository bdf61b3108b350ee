"""Nothing from data reaches a terminal as a control sequence: errors, warnings, traces, tables."""

import io
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from stages import cli, records, stage, terminal
from stages.commands.doctor import command
from stages.commands.doctor.finding import Finding
from stages.errors import DataError
from stages.records import Document
from stages.report import table
from stages.report.results import Results
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


@pytest.fixture
def guarded(monkeypatch: Any) -> None:
    """Guard the terminal for one test."""
    for module, name in ((warnings, "formatwarning"), (sys, "excepthook"), (logging, "_logRecordFactory")):
        monkeypatch.setattr(module, name, getattr(module, name))
    terminal.guard()


@pytest.mark.parametrize("text", SEQUENCES)
@pytest.mark.parametrize("library", ["transformers", "datasets", "huggingface_hub", "peft", "a.b"])
@pytest.mark.usefixtures("guarded")
def test_loggers_of_libraries_print_no_control_characters(library: str, text: str) -> None:
    """They have handlers of their own."""
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger(library)
    logger.addHandler(handler)
    try:
        raise ValueError(text)
    except ValueError:
        logger.error("%s: unknown", text, exc_info=True)
    finally:
        logger.removeHandler(handler)
    printed = stream.getvalue()
    assert printed.count(visible(text)) == 2 and printed.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", SEQUENCES)
@pytest.mark.usefixtures("guarded")
def test_warnings_and_tracebacks_hold_no_control_characters(text: str, capsys: Any) -> None:
    assert visible(text) in warnings.formatwarning(f"{text}: unknown", UserWarning, f"{text}.py", 1)
    try:
        raise ValueError(text)
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    printed = capsys.readouterr().err
    assert f"ValueError: {visible(text)}" in printed and printed.replace("\n", "").isprintable()


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
    table.show(Results({"tuned": numbers, "base_0shot": numbers}, difference, key), Path("reports/x"))
    printed = capsys.readouterr().out
    assert printed.count(visible(key)) == 3 and printed.replace("\n", "").isprintable()


def test_doctor_shows_names_of_files_without_control_characters(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(command, "find", lambda root: [Finding("warning", "a\x1b[2J.part", "half-written", "delete it")])
    command.doctor(fix=False)
    assert "a\\x1b[2J.part" in capsys.readouterr().out
