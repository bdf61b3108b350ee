"""Costs: totals, machines, memory, and the price of a million answers."""

import json
from typing import Any

from tests.report.conftest import html


def test_a_step_on_another_machine_names_it(inputs: Any, run: Any) -> None:
    elsewhere = {**inputs.prediction_cost()["machine"], "device_name": "NVIDIA H100"}
    inputs.json("data/cost/predict_base_0shot.json", {**inputs.prediction_cost(), "machine": elsewhere})
    folder = run(inputs)
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["predict_base_0shot"]["machine"]["device_name"] == "NVIDIA H100"
    assert "machine" not in cost["predict_base_3shot"]
    assert "on NVIDIA H100" in html(folder)


def test_totals_and_what_a_million_answers_cost(inputs: Any, run: Any) -> None:
    inputs.json("data/cost/predict_tuned_42.json", {**inputs.prediction_cost(), "seconds": 54.0, "prompt_tokens": 9000})
    folder = run(inputs)
    assert "nrefs:1|tok:13a" in html(folder)
    line = "| perplexity of the references (per token, lower is better) | 1.843 | 1.843 | 1.843 |"
    assert line in (folder / "report.md").read_text()
    serving = json.loads((folder / "cost.json").read_text())["serving"]
    assert serving["tuned_42"] == {
        "seconds": 0.9,
        "prompt_tokens": 150.0,
        "new_tokens": 200.0,
        "hours_per_million": 250.0,
        "usd_per_million": 125.0,
    }
    assert serving["api"]["usd_per_million"] == round(41000 / 60 * 0.2 + 200 * 0.8, 2)


def test_gpu_memory_is_shown_in_gib_with_its_shares(inputs: Any, run: Any) -> None:
    memory = {"before": 0.5, "peak": 4.0, "reserved": 4.252, "total": 14.741}
    card = {f"memory_{name}_gib": gib for name, gib in memory.items()}
    inputs.json("data/cost/train_42.json", {**inputs.training_cost(), **card, "train_seconds": 259.4, "processes": 2})
    folder = run(inputs)
    sentence = (
        "14.741 GiB of GPU memory; reserved before training 0.500 GiB, at the peak 4.252 GiB (28.8 %), of which for training "
        "3.752 GiB (25.5 %); trained in 259.4 s, 4.32 minutes"
    )
    for text in (html(folder), (folder / "report.md").read_text()):
        assert sentence in text.replace("\u202f", " ")
        assert ", 2 processes" in text


def test_resumed_training_names_its_step(inputs: Any, run: Any) -> None:
    inputs.json("data/cost/train_42.json", {**inputs.training_cost(), "resumed_at_step": 10})
    folder = run(inputs)
    assert "resumed at step 10</th>" in html(folder)
    assert " s, resumed at step 10, peak memory" in (folder / "report.md").read_text().replace("\u202f", " ")


def test_measurements_show_their_peak_memory(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    text = (folder / "report.md").read_text().replace("\u202f", " ")
    assert "- Predict tuned 42: 1 min 35 s, peak memory 1.250 GiB." in text
    assert "- Retention tuned 42: 41.7 s, peak memory 0.750 GiB." in text
    assert "1.250 GiB" in html(folder).replace("&#8239;", " ").replace("\u202f", " ")
