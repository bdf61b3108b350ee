"""The table of scores on the terminal."""

from pathlib import Path
from typing import Any

import pytest

from stages.report import table
from stages.report.results import Results

METRICS = ("json_valid", "field_exact", "an_unusually_long_name_of_a_metric_exact")
SYSTEMS = ("base_0shot", "base_3shot", "base_8shot", "base_passage")
VERDICTS = ("underpowered", "within noise", "better")


def numbers(**more: str) -> dict[str, Any]:
    scores = {f"{metric}{end}": 0.9876 for metric in METRICS for end in ("", "_lo", "_hi")}
    return scores | {"n": 220} | more


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_table_cuts_nothing_off(columns: int, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    verdicts = {f"{metric}_verdict": verdict for metric, verdict in zip(METRICS, VERDICTS, strict=True)}
    systems = {system: numbers() for system in (*SYSTEMS, "tuned")}
    table.show(Results(systems, numbers(against="base_8shot", **verdicts), "test"), Path("reports/x"))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert all(printed.count(verdict) == 1 for verdict in VERDICTS)
    assert max(map(len, printed.splitlines()[:-1])) <= columns


def test_last_line_names_questions_in_several_orders(capsys: Any) -> None:
    verdicts = {f"{metric}_verdict": "better" for metric in METRICS}
    totals = {"tuned_42": {"questions": 110}}
    table.show(Results({"tuned": numbers()}, numbers(against="base_8shot", **verdicts), "test", totals=totals), Path("x"))
    assert "220 rows (110 questions, in 2 orders on average) of the test split" in capsys.readouterr().out


@pytest.mark.parametrize(("columns", "apart"), [(80, True), (200, False)])
def test_differences_move_below_where_columns_are_few(columns: int, apart: bool, capsys: Any, monkeypatch: Any) -> None:
    """An aligned run has seven columns; next to each other in 80, every interval would be broken into three lines."""
    monkeypatch.setenv("COLUMNS", str(columns))
    verdicts = {f"{metric}_verdict": "better" for metric in METRICS}
    systems = {system: numbers() for system in ("base_0shot", "base_3shot", "tuned", "aligned")}
    step = numbers(against="base_3shot", **verdicts)
    table.show(Results(systems, step, "test", aligned_minus_tuned=step), Path("reports/x"))
    printed = capsys.readouterr().out
    assert ("points" in printed) == apart
    assert printed.count("[98.8, 98.8]") == 4 * len(METRICS)
    assert printed.count("[+98.8, +98.8]") == 2 * len(METRICS)
