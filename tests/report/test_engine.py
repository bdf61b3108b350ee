"""Reports of runs that a server answered: who it was, and how far transformers agrees; two engines are never paired."""

import json
from typing import Any

import pytest

from stages.errors import DataError
from tests.report.conftest import html

VLLM = {"kind": "openai", "server": "vllm", "version": "0.11.0", "model": "m"}


def serve(inputs: Any, **engines: dict[str, str]) -> None:
    inputs.params.engine.kind = "openai"
    for system in inputs.systems:
        cost = {**inputs.prediction_cost(), "engine": engines.get(system, VLLM), "asked": 60, "retries": 0}
        inputs.json(f"data/cost/predict_{system}.json", cost)
        agreed = {"rows": 60, "token_agreement": 0.996, "row_agreement": 0.95, "quantization": "none"}
        inputs.json(f"data/agreement/{system}.json", agreed)


def test_report_shows_engine_and_agreement(inputs: Any, run: Any) -> None:
    serve(inputs)
    folder = run(inputs)
    for text in (html(folder), (folder / "report.md").read_text(encoding="utf-8")):
        assert "llm 0.11.0 answered the rows of all systems" in text and text.count("99.6") == len(inputs.systems)
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["engine"] == {name: VLLM[name] for name in ("kind", "server", "version")}


def test_two_engines_in_a_run_are_refused(inputs: Any, run: Any) -> None:
    serve(inputs, tuned_42=VLLM | {"version": "0.12.0"})
    with pytest.raises(DataError, match=r"^engine: vllm 0\.11\.0 answered in predict_base_0shot, vllm 0\.12\.0 in"):
        run(inputs)
