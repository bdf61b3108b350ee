"""`tunetrail compare` as a reviewer uses it: on the commits of a small repository, from git alone."""

import json
import os

import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from stages import files, locks
from tests.commands.compare.conftest import jsonl, md5, refusal
from tests.fixtures.markup import ATTACKS, effects


def test_a_gain_is_attributed_to_its_only_parameter(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16})
    repository.commit()
    page = compare(repository, "--base", base)
    assert page.startswith("# Better: exact rose from 50.0 % to 75.0 %")
    assert "+25.0 points" in page and "on the same 120 rows in 24 clusters" in page
    assert "**Exactly one variable changed**: parameter `lora.r` 4 → 16." in page
    assert "| exact | 50.0 (" in page and "| 30 / 0 |" in page
    assert "Stages run again: `train@42`" in page and "Stages not run: `format`" in page
    assert "one training run, so the variation between training seeds is unknown" in page


@pytest.mark.parametrize("kept", ["question", "other"])
def test_questions_in_several_orders_are_counted_as_in_the_report(repository, compare, kept):
    details = {"totals": {"base_0shot": {"questions": 60}, "tuned_42": {"questions": 60}}}
    repository.run(60, details=details)
    base = repository.commit()
    repository.run(90, questions=kept, details=details)
    counted = "120 rows (60 questions, in 2 orders on average)"
    rows = f"on the same {counted} in 24 clusters" if kept == "question" else f"unpaired: {counted} before, {counted} after"
    assert rows in compare(repository, "--base", base)


def test_the_effect_of_several_changes_is_not_attributed(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.write("data/authored/bodies.txt", "one\ntwo\nthree\n")
    repository.write("stages/train/trainer.py", "steps = 2\n")
    repository.write("stages/synthesize/question.jinja", "Ask politely.\n")
    repository.run(90, {"lora.r": 16}, train=("a", "b", "c"), versions={"torch": "2.1"})
    repository.commit()
    page = compare(repository, "--base", base)
    assert "**5 variables changed**, so the effect cannot be attributed" in page
    assert "- parameter `lora.r` 4 → 16" in page
    assert "- data `data/authored` data/authored/bodies.txt +1 -0 lines" in page
    assert "- prompt `stages/synthesize/question.jinja`" in page
    assert "- code `stages/train/trainer.py`" in page
    assert "- library `torch` 2.0 → 2.1" in page


def test_quotes_stay_quotes_in_a_terminal(repository, compare):
    repository.run(60, {"lora.target_modules": "all-linear"})
    base = repository.commit()
    repository.run(60, {"lora.target_modules": ["q_proj", "v_proj"]})
    page = compare(repository, "--base", base)
    assert '**Exactly one variable changed**: parameter `lora.target_modules` all-linear → \\["q_proj", "v_proj"\\].' in page


def test_what_decides_no_score_is_listed_apart(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(60, {"lora.r": 16, "runtime.threads": 4, "report.margin": 0.1, "lora.new": None})
    page = compare(repository, "--base", base)
    assert "**Exactly one variable changed**: parameter `lora.r`" in page
    assert "- `runtime.threads` 2 → 4, which decides no score beyond rounding" in page
    assert "- `report.margin` 0.05 → 0.1, which decides no score beyond rounding" in page
    assert "- `lora.new` absent → null, with another change" in page


def test_another_result_from_equal_inputs_counts_as_a_variable(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(60, adapter="of another machine")
    assert "**Exactly one variable changed**: unexplained `adapter (of train@42, from equal inputs)`" in compare(
        repository, "--base", base
    )


@pytest.mark.parametrize(
    ("old", "new", "variable"),
    [
        ("cmd: run", "cmd: run fast", "code `dvc.yaml: cmd of train@42`"),
        (
            "    - path: stages/train\n",
            "    - path: extra.txt\n      md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n      size: 3\n    - path: stages/train\n",
            "data `extra.txt` absent → 3 bytes",
        ),
        ("      params.yaml:\n", "      params.yaml:\n        dropout: 0.1\n", "parameter `dropout` absent → 0.1"),
    ],
)
def test_a_key_of_one_side_counts_if_nothing_else_explains(repository, compare, old, new, variable):
    repository.run(60)
    base = repository.commit()
    repository.run(90, adapter="other")
    before, mark, train = repository.read("dvc.lock").partition("  train@42:")
    assert old in train
    repository.write("dvc.lock", before + mark + train.replace(old, new, 1))
    assert f"**Exactly one variable changed**: {variable}." in compare(repository, "--base", base)


def test_two_equal_runs_show_no_difference(repository, compare):
    repository.run(60)
    base = repository.commit()
    page = compare(repository, "--base", base)
    assert page.startswith("# No difference: every row has the same scores")
    assert "No variable that decides a score changed." in page
    assert "No stage ran again, so all times are equal." in page


def test_a_small_change_passes_the_gate(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(60, {"lora.r": 16}, shift=7)
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Underpowered: exact 50.0 % before, 50.0 % after")
    assert "would narrow it" in page
    repository.run(60, {"report.margin": 0.9})
    base = repository.commit()
    repository.run(60, {"lora.r": 16, "report.margin": 0.9}, shift=7)
    assert compare(repository, "--base", base, "--gate").startswith("# Within noise")


def test_the_gate_fails_on_a_loss_beyond_the_margin(repository, compare):
    repository.run(110)
    base = repository.commit()
    repository.run(50, {"lora.r": 1})
    message = refusal(compare, repository, "--base", base, "--output", "compare.md", "--gate")
    assert "beyond report.margin = 0.05" in message
    assert repository.read("compare.md").startswith("# Worse: exact fell from 91.7 % to 41.7 %")
    assert compare(repository, "--base", base, "--output", "compare.md").startswith("Worse")  # without --gate it passes


def test_the_gate_passes_a_loss_within_the_margin(repository, compare):
    repository.run(110, {"report.margin": 0.9})
    base = repository.commit()
    repository.run(50, {"lora.r": 1, "report.margin": 0.9})
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Worse") and "Judged by the settings of base" not in page


def test_a_change_is_judged_by_the_settings_of_its_base(repository, compare):
    repository.run(110)
    base = repository.commit()
    repository.run(50, {"lora.r": 1, "report.margin": 0.9, "report.headline": "stop_rate"})
    message = refusal(compare, repository, "--base", base, "--output", "compare.md", "--gate")
    assert "exact fell" in message and "beyond report.margin = 0.05" in message
    settings = "`report.headline` = `exact` (head has `stop_rate`), `report.margin` = `0.05` (head has `0.9`).\n"
    assert f"Judged by the settings of base: {settings}" in repository.read("compare.md")


def test_a_base_without_a_margin_takes_that_of_the_head(repository, compare):
    repository.run(110)
    params, lock = (repository.read(file) for file in ("params.yaml", "dvc.lock"))
    for file, text in (("params.yaml", params), ("dvc.lock", lock)):
        repository.write(file, "".join(line for line in text.splitlines(keepends=True) if "margin:" not in line))
    base = repository.commit()
    repository.run(50, {"lora.r": 1, "report.margin": 0.9})
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Worse") and "Judged by the settings of base" not in page


def test_other_test_rows_give_only_unpaired_intervals(repository, compare):
    repository.run(110)
    base = repository.commit()
    repository.run(20, {"lora.r": 16}, questions="new")
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Not comparable row by row: the two runs answered different test rows")
    assert "unpaired: 120 rows before, 120 rows after" in page
    assert "rows better / worse" not in page and "p <" not in page and "p =" not in page
    assert "`data/formatted/test.jsonl`: 120 rows added, 120 removed, 0 kept" in page


def test_several_seeds_are_averaged_and_their_spread_is_shown(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(60, {"seeds": [42, 43]})
    page = compare(repository, "--base", base)
    assert "Base: one training run" in page
    assert "Head: the mean of 2 training runs, standard deviation between them 0.0 points" in page


def test_an_untuned_system_that_moved_is_a_warning(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(60, {"model.name": "other"}, untuned=40)
    assert "The untuned base, no examples moved too, 8.3 % → 33.3 % exact" in compare(repository, "--base", base)


def test_totals_retention_and_cost_are_side_by_side(repository, compare):
    def measured(bits: float, verdict: str, bleu: float) -> dict:
        kept = {"tuned": {"bits_per_byte": bits}, "difference": {"bits_per_byte_verdict": verdict}}
        totals = {"tuned_42": {"bleu": bleu, "bleu_signature": "v2"}}
        return {"metrics": {"retention": kept}, "details": {"totals": totals}}  # as older reports split them

    repository.run(60, **measured(1.25, "within noise", 31.5), memory={"memory_peak_mb": 4565.6})
    base = repository.commit()
    repository.run(60, train=("a", "b", "c"), **measured(1.5, "worse", 30), memory={"memory_peak_gib": 4.5})
    page = compare(repository, "--base", base)
    assert "| bits per byte | 1.25 (within noise) | 1.5 (worse) |" in page
    assert "| BLEU (0 to 100, higher is better) | 31.5 | 30 |" in page and "signature" not in page
    assert "| train 42 | 11 | 12 | 4.252 GiB | 4.500 GiB |" in page


def test_refusals_have_no_verdict_even_in_older_reports(repository, compare):
    kept = {"tuned": {"refusal_rate": 0.6}, "difference": {"refusal_rate_verdict": "better"}}
    repository.run(60, metrics={"retention": kept})
    base = repository.commit()
    repository.run(60, train=("a", "b", "c"), metrics={"retention": kept})
    assert "| refusal rate | 0.6 | 0.6 |" in compare(repository, "--base", base)


def test_a_clone_without_cache_lacks_only_the_texts(repository, compare, tmp_path):
    repository.run(60, cache=True)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, train=("b", "c", "d"), cache=True)
    head = repository.commit()
    here = compare(repository, "--base", base, "--head", head)
    assert "`data/formatted/train.jsonl`: 2 rows added, 1 removed, 1 kept" in here
    assert "base       wrong" in here and "head       right" in here

    clone = repository.clone(tmp_path / "clone")
    assert not (clone.root / ".dvc/cache").exists()
    shared = os.path.relpath(repository.root / ".dvc/cache", clone.root / ".dvc")
    clone.write(".dvc/config.local", f"[cache]\n    dir = {shared}\n")
    assert compare(clone, "--base", base, "--head", head) == here  # a shared cache
    clone.write(".dvc/config.local", "[cache]\n    nonsense = 1\n")
    assert ".dvc: config file error: extra keys not allowed" in refusal(compare, clone, "--base", base, "--head", head)
    (clone.root / ".dvc/config.local").unlink()
    there = compare(clone, "--base", base, "--head", head)
    assert "base       wrong" not in there and "texts not shown" in there
    assert "`data/formatted/train.jsonl`: 30 B → 45 B (rows are not in git and not in the cache)" in there
    until = "## Fixed and broken rows"
    assert there[: there.index(until)] == here[: here.index(until)]


def test_texts_from_data_cannot_become_markup(repository, compare):
    repository.run(60, cache=True)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, cache=True)
    page = compare(repository, "--base", base)
    assert "&lt;b&gt;Who?&lt;/b&gt;" in page and "<b>" not in page


def test_texts_with_blank_lines_stay_as_they_are(repository, compare):
    repository.run(60, cache=True)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, cache=True)
    blocks = [token.content for token in MarkdownIt("commonmark").parse(compare(repository, "--base", base)) if token.content]
    texts = [block for block in blocks if "Who?" in block]
    assert len(texts) == 5
    for text in texts:
        assert text.startswith("<pre>") and "\n\n# Really?" in text and "head       right" in text and "</pre>" in text


def test_a_broken_row_is_shown_before_a_fixed_one(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, shift=40)
    page = compare(repository, "--base", base)
    assert 0 < page.index("- broken: `ex-question-") < page.index("- fixed: `ex-question-")


def test_another_device_is_a_variable(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, device="a GPU")
    page = compare(repository, "--base", base)
    assert "**2 variables changed**" in page and "- machine `device_name` a CPU → a GPU" in page


def test_a_metric_of_one_side_is_named(repository, compare):
    repository.run(60)
    base = repository.commit()
    old = repository.read("reports/letters/items.jsonl")
    new = old.replace('"stop_rate"', '"rouge_l"')
    repository.write("reports/letters/items.jsonl", new)
    repository.write("dvc.lock", repository.read("dvc.lock").replace(md5(old)["md5"], md5(new)["md5"]))
    page = compare(repository, "--base", base)
    assert f"Measured on one side only: stopped by itself ({base}),\nROUGE-L (working tree)." in page


def test_few_clusters_are_a_warning(repository, compare, monkeypatch):
    repository.run(60)
    base = repository.commit()
    assert "fewer than" not in compare(repository, "--base", base)
    monkeypatch.setattr("stages.formatting.FEW_CLUSTERS", 25)
    assert "These are fewer than 25 clusters: intervals and p-values are rough." in compare(repository, "--base", base)


def test_the_page_is_plain_text_that_git_can_diff(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16})
    compare(repository, "--base", base, "--output", "compare.md")
    lines = list(files.lines(repository.root / "compare.md"))
    tables = [line for line in lines if line.startswith("|")]
    assert tables and all(line.endswith("|") for line in tables)


@pytest.mark.parametrize("attack", ATTACKS)
def test_values_of_a_pull_request_cannot_mark_up_the_page(repository, compare, attack):
    """The head brings it as parameter, key, stage, machine, library, metric, group value, system, step and verdict."""
    repository.run(60)
    base = repository.commit()
    kept = {"tuned": {"bits_per_byte": 1.5}, "difference": {"bits_per_byte_verdict": attack}}
    key = f"lora.{attack.replace('.', ' ')}"
    repository.run(
        90,
        {"lora.r": attack, key: 1, "runtime.threads": attack, "report.headline": attack},
        versions={"torch": attack, attack: "1"},
        device=attack,
        metrics={"retention": kept},
        details={"totals": {"tuned_42": {attack: 1.5, "bleu": attack}}},
    )
    cost, items = (repository.read(f"reports/letters/{name}") for name in ("cost.json", "items.jsonl"))
    rows = [json.loads(line) for line in items.splitlines()]
    for row in rows:
        row["source"] += attack
        row["metrics"].append(attack)
        for scores in row["scores"].values():
            scores.append(1.0)
    changed = {**json.loads(cost), attack: {"seconds": 3}, "serving": {"tuned_42": {attack: 2}}}
    lock = repository.read("dvc.lock")
    for name, old, new in (("cost.json", cost, json.dumps(changed)), ("items.jsonl", items, jsonl(rows))):
        repository.write(f"reports/letters/{name}", new)
        lock = lock.replace(md5(old)["md5"], md5(new)["md5"])
    locked = YAML(typ="safe").load(lock)
    locked["stages"][f"extra@{attack}"] = {"cmd": "run"}
    repository.write("dvc.lock", json.dumps(locked))

    page = compare(repository, "--base", base)
    headings, linked = effects(page)
    assert headings[0].startswith("Better: exact rose")
    assert headings[1:] == ["Scores", "Fixed and broken rows", "What changed", "Retention", "Cost", "Provenance"]
    assert linked == [] and "\x1b" not in page


def test_texts_of_other_rows_cannot_leave_their_block(repository, compare):
    """Texts come from DVC's cache, where a clone has it."""
    repository.run(60, cache=True, text="</pre>\n\n# Merge\n\n@octocat \x1b[2J {}")
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, cache=True, text="</pre>\n\n# Merge\n\n@octocat \x1b[2J {}")
    page = compare(repository, "--base", base)
    headings, linked = effects(page)
    assert "Merge" not in headings and linked == [] and "\x1b" not in page and "&lt;/pre&gt;" in page


@pytest.mark.parametrize("side", ["base", "head"])
def test_texts_are_shown_only_if_both_sides_allow_it(repository, compare, side):
    repository.run(60, {"report.texts": side != "base"}, cache=True)
    base = repository.commit()
    repository.run(90, {"lora.r": 16, "report.texts": side != "head"}, cache=True)
    page = compare(repository, "--base", base)
    assert "Who?" not in page and "texts not shown" in page


def test_second_comparison_to_one_file_stops(repository, compare, monkeypatch):
    repository.run(60)
    base = repository.commit()
    monkeypatch.setattr(locks, "TRIES", 1)
    with locks.take(repository.root / "compare.md"):
        assert "compare.md: process " in refusal(compare, repository, "--base", base, "--output", "compare.md")


def test_working_tree_of_a_running_experiment_is_refused(repository, compare, monkeypatch):
    repository.run(60)
    base = repository.commit()
    monkeypatch.setattr(locks, "TRIES", 1)
    with locks.take(repository.root / locks.EXPERIMENT):
        assert "works in this clone with its own params.yaml" in refusal(compare, repository, "--base", base)
        assert "No difference" in compare(repository, "--base", base, "--head", base)


def test_tuned_models_with_a_passage_count_as_neither_side(repository, compare):
    repository.run(60, passage=0)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, passage=120)
    page = compare(repository, "--base", base)
    assert page.startswith("# Better: exact rose from 50.0 % to 75.0 %")
    assert "one training run" in page and "moved too" not in page


def test_aligned_models_are_compared_where_there_are_any(repository, compare):
    kept = {"tuned": {"bits_per_byte": 1.1}, "aligned": {"bits_per_byte": 1.3}, "difference": {}, "aligned_minus_tuned": {}}
    repository.run(60, details={"retention": kept})
    base = repository.commit()
    repository.run(60, {"lora.r": 16}, aligned=90, details={"retention": kept}, cache=True)
    text = compare(repository, "--base", base)
    assert "Better: exact rose from 50.0 % to 75.0 %" in text
    assert "aligned model against the tuned one, test split" in text
    assert "| bits per byte | 1.1 | 1.3 |" in text and "the model before that step" in text


def test_a_base_that_names_every_score_compares(repository, compare):
    """Older reports have this form."""
    repository.run(60)
    new = repository.read("reports/letters/items.jsonl")
    rows = [json.loads(line) for line in new.splitlines()]
    for row in rows:
        names = row.pop("metrics")
        row["scores"] = {system: dict(zip(names, scores, strict=True)) for system, scores in row["scores"].items()}
    repository.write("reports/letters/items.jsonl", old := jsonl(rows))
    repository.write("dvc.lock", repository.read("dvc.lock").replace(md5(new)["md5"], md5(old)["md5"]))
    base = repository.commit()
    repository.run(90, {"lora.r": 16})
    assert "Better: exact rose from 50.0 % to 75.0 %" in compare(repository, "--base", base)


def test_runs_of_two_engines_are_not_compared(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, engine={"kind": "openai", "server": "vllm", "version": "0.11.0"})
    served = repository.commit()
    line = refusal(compare, repository, "--base", base)
    assert "answered by transformers" in line and "by vllm; answers of two engines are not compared" in line
    repository.run(60, engine={"kind": "openai", "server": "vllm", "version": "0.12.0"})
    assert "library `vllm` 0.11.0 → 0.12.0" in compare(repository, "--base", served)
