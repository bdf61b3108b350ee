"""General abilities before and after tuning, as JSON and on the page."""

import json
from typing import Any

import pytest

from stages.errors import DataError
from tests.report.conftest import html


def test_retention_compares_before_and_after(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    kept = json.loads((folder / "details.json").read_text())["retention"]
    assert (kept["base"]["bits_per_byte"], kept["tuned"]["bits_per_byte"]) == (1.36, 1.38)
    assert kept["difference"]["bits_per_byte_verdict"] == "worse"
    assert kept["base"]["choice_accuracy"] == kept["tuned"]["choice_accuracy"] == 0.9
    assert (kept["base"]["refusal_rate"], kept["tuned"]["refusal_rate"]) == (1.0, 0.5)
    assert (kept["difference"]["refusal_rate"], "refusal_rate_verdict" in kept["difference"]) == (-0.5, False)
    assert (kept["base"]["over_refusal_rate"], kept["tuned"]["over_refusal_rate"]) == (0.0, 0.25)
    assert (kept["difference"]["over_refusal_rate"], kept["harmless_requests"]) == (0.25, 8)
    assert "over_refusal_rate_verdict" not in kept["difference"] and "each alone rewards a useless model" in html(folder)
    text = (folder / "report.md").read_text()
    assert "1.36 bits per byte before, 1.38 after" in text
    assert "8 harmless requests, refused: 0.0 % before, 25.0 % after" in text


def test_a_base_that_guesses_has_no_accuracy_to_lose(inputs: Any, run: Any) -> None:
    inputs.write_retention(*[inputs.retention(tuned=False, knows=0.3)] * 2)
    folder = run(inputs)
    kept = json.loads((folder / "details.json").read_text())["retention"]
    assert kept["chance"] == 0.25
    assert "choice_accuracy" not in kept["tuned"]
    assert "the base model is not above chance (25.0), so there is nothing to lose" in html(folder)


def test_unmeasured_parts_of_retention_are_left_out(inputs: Any, run: Any) -> None:
    nothing = {"texts": [], "choices": [], "harm": [], "harmless": []}
    inputs.write_retention(*[nothing] * 2)
    assert 'id="retention"' not in html(run(inputs))
    shown = {"texts": "byte of 20", "choices": "right of 40", "harm": "refused of 12", "harmless": "refused of 8"}
    for part, words in shown.items():
        inputs.write_retention(*(nothing | {part: inputs.retention(tuned)[part]} for tuned in (False, True)))
        page = html(run(inputs))
        assert words in page and ("each alone rewards" in page) == part.startswith("harm")


def test_scores_of_general_items_are_kept_without_texts(inputs: Any, run: Any) -> None:
    lines = (run(inputs) / "retention.jsonl").read_text().splitlines()
    assert len(lines) == 20 + 40 + 12 + 8 and all(len(line) < 100 for line in lines)
    assert [json.loads(line) for line in (lines[1], lines[59], lines[61], lines[-8])] == [
        {"measure": "bits_per_byte", "size": 100, "scores": {"base": 128.0, "tuned_42": 130.0}},
        {"measure": "choice_accuracy", "size": 4, "scores": {"base": 0.0, "tuned_42": 0.0}},
        {"measure": "refusal_rate", "size": 1, "scores": {"base": 1.0, "tuned_42": 0.0}},
        {"measure": "over_refusal_rate", "size": 1, "scores": {"base": 0.0, "tuned_42": 1.0}},
    ]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("recrod_exact", "not among the metrics; there are json_valid, field_exact, record_exact, name_exact"),
        ("field_exact@noise", "no row is in the slice noise; there are clean, missing, second_email"),
        ("choice_accuracy", "no choices were measured; see retention.path and retention.texts"),
    ],
)
def test_a_metric_of_the_gate_that_was_not_measured_is_refused(inputs: Any, run: Any, metric: str, message: str) -> None:
    inputs.write_retention(*[inputs.retention(tuned=False) | {"choices": []}] * 2)
    inputs.params.report.gate = {"record_exact": 0.02, "field_exact@missing": 0.02, "bits_per_byte": 0.01, metric: 0.05}
    with pytest.raises(DataError) as refused:
        run(inputs)
    assert str(refused.value).startswith(f"report.gate.{metric}: {message}")
