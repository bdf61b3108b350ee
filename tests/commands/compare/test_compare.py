"""`tunetrail compare` as a reviewer meets it: on the commits of a small repository, from git alone."""

import json

import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from stages import files
from tests.commands.compare.conftest import md5


def refusal(compare, repository, *arguments) -> str:
    """The one line that it ends with, exit status 1."""
    with pytest.raises(SystemExit) as ended:
        compare(repository, *arguments)
    said = str(ended.value.code)
    assert said.startswith("error: ") and len(said.splitlines()) == 1
    return said


def test_a_gain_from_one_parameter_is_called_better_and_attributed_to_it(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16})
    repository.commit()
    page = compare(repository, "--base", base)
    assert page.startswith("# Better: exact rose from 50.0 % to 75.0 %")
    assert "+25.0 points" in page and "on the same 120 rows in 24 clusters" in page
    assert "**Exactly one variable changed**: parameter `lora.r` 4 → 16." in page
    assert "| exact | 50.0 (" in page and "| 30 / 0 |" in page
    assert "Stages run again: train@42" in page and "Stages not run: format" in page
    assert "one training run, so the variation between training seeds is unknown" in page


def test_several_changes_are_named_and_the_effect_is_not_attributed(repository, compare):
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
    assert '**Exactly one variable changed**: parameter `lora.target_modules` all-linear → ["q_proj", "v_proj"].' in page


def test_what_decides_no_score_is_told_but_is_no_variable(repository, compare):
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
    ("old", "new", "said"),
    [
        ("cmd: run", "cmd: run fast", "code `dvc.yaml: cmd of train@42`"),
        (
            "    - path: stages/train\n",
            "    - path: extra.txt\n      md5: x\n      size: 3\n    - path: stages/train\n",
            "data `extra.txt` absent → 3 bytes",
        ),
        ("      params.yaml:\n", "      params.yaml:\n        dropout: 0.1\n", "parameter `dropout` absent → 0.1"),
    ],
)
def test_what_one_stage_alone_was_given_counts_where_nothing_else_explains_it(repository, compare, old, new, said):
    repository.run(60)
    base = repository.commit()
    repository.run(90, adapter="other")
    before, mark, train = repository.read("dvc.lock").partition("  train@42:")
    assert old in train
    repository.write("dvc.lock", before + mark + train.replace(old, new, 1))
    assert f"**Exactly one variable changed**: {said}." in compare(repository, "--base", base)


def test_two_equal_runs_show_no_difference(repository, compare):
    repository.run(60)
    base = repository.commit()
    page = compare(repository, "--base", base)
    assert page.startswith("# No difference: every row has the same scores")
    assert "No variable that decides a score changed." in page
    assert "No stage ran again, so all times are equal." in page


def test_a_small_change_is_noise_or_underpowered_and_passes_the_gate(repository, compare):
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


def test_the_gate_fails_on_a_significant_loss_beyond_the_margin_and_still_writes_the_page(repository, compare):
    repository.run(110)
    base = repository.commit()
    repository.run(50, {"lora.r": 1})
    said = refusal(compare, repository, "--base", base, "--output", "compare.md", "--gate")
    assert "beyond report.margin = 0.05" in said
    assert repository.read("compare.md").startswith("# Worse: exact fell from 91.7 % to 41.7 %")
    assert compare(repository, "--base", base, "--output", "compare.md").startswith("Worse")  # without --gate it passes


def test_the_gate_lets_a_significant_loss_within_the_margin_pass(repository, compare):
    repository.run(110, {"report.margin": 0.9})
    base = repository.commit()
    repository.run(50, {"lora.r": 1, "report.margin": 0.9})
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Worse") and "Judged by the settings of base" not in page


def test_a_change_is_judged_by_the_yardstick_of_its_base(repository, compare):
    repository.run(110)
    base = repository.commit()
    repository.run(50, {"lora.r": 1, "report.margin": 0.9, "report.headline": "stop_rate"})
    said = refusal(compare, repository, "--base", base, "--output", "compare.md", "--gate")
    assert "exact fell" in said and "beyond report.margin = 0.05" in said
    assert (
        "Judged by the settings of base: `report.headline` = exact (head has stop_rate), `report.margin` = 0.05 (head has 0.9).\n"
        in repository.read("compare.md")
    )


def test_a_base_older_than_the_margin_is_judged_by_that_of_the_head(repository, compare):
    repository.run(110)
    params, lock = (repository.read(file) for file in ("params.yaml", "dvc.lock"))
    for file, text in (("params.yaml", params), ("dvc.lock", lock)):
        repository.write(file, "".join(line for line in text.splitlines(keepends=True) if "margin:" not in line))
    base = repository.commit()
    repository.run(50, {"lora.r": 1, "report.margin": 0.9})
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Worse") and "Judged by the settings of base" not in page


def test_other_test_rows_are_said_and_only_unpaired_intervals_given(repository, compare):
    repository.run(110)
    base = repository.commit()
    repository.run(20, {"lora.r": 16}, questions="new")
    page = compare(repository, "--base", base, "--gate")
    assert page.startswith("# Not comparable row by row: the two runs answered different test rows")
    assert "unpaired: 120 rows before, 120 after" in page
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


def test_totals_retention_and_cost_stand_side_by_side(repository, compare):
    def measured(bits: float, verdict: str, bleu: float) -> dict:
        kept = {"tuned": {"bits_per_byte": bits}, "difference": {"bits_per_byte_verdict": verdict}}
        totals = {"tuned_42": {"bleu": bleu, "bleu_signature": "v2"}}
        return {"metrics": {"retention": kept}, "details": {"totals": totals}}  # as reports up to 2026-11 divide them

    repository.run(60, **measured(1.25, "within noise", 31.5), memory={"memory_peak_mb": 4565.6})
    base = repository.commit()
    repository.run(60, train=("a", "b", "c"), **measured(1.5, "worse", 30), memory={"memory_peak_gib": 4.5})
    page = compare(repository, "--base", base)
    assert "| bits per byte | 1.25 (within noise) | 1.5 (worse) |" in page
    assert "| bleu | 31.5 | 30 |" in page and "signature" not in page
    assert "| train 42 | 11 | 12 | 4.252 GiB | 4.500 GiB |" in page


def test_a_clone_with_an_empty_cache_compares_two_commits_and_only_lacks_the_texts(repository, compare, tmp_path):
    repository.run(60, cache=True)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, train=("b", "c", "d"), cache=True)
    head = repository.commit()
    here = compare(repository, "--base", base, "--head", head)
    assert "`data/formatted/train.jsonl`: 2 rows added, 1 removed, 1 kept" in here
    assert "base       wrong" in here and "head       right" in here

    clone = repository.clone(tmp_path / "clone")
    assert not (clone.root / ".dvc/cache").exists()
    there = compare(clone, "--base", base, "--head", head)
    assert "base       wrong" not in there and "texts not in DVC's cache" in there
    assert "`data/formatted/train.jsonl`: 30 B → 45 B (rows are not in git and not in the cache)" in there
    until = "## Fixed and broken rows"
    assert there[: there.index(until)] == here[: here.index(until)]


def test_texts_that_others_wrote_cannot_become_markup(repository, compare):
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


def test_an_unknown_revision_is_one_line_that_names_known_ones(repository, compare):
    repository.run(60)
    repository.commit()
    assert refusal(compare, repository, "--base", "mian") == "error: mian: unknown revision; known are main"


def test_what_an_earlier_run_left_in_the_lock_is_no_part_of_this_one(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 64})
    left = YAML(typ="safe").load(repository.read("dvc.lock"))["stages"]["train@42"] | {"outs": []}
    repository.run(90, {"lora.r": 16})
    lock = YAML(typ="safe").load(repository.read("dvc.lock"))
    lock["stages"]["train@43"] = left
    repository.write("dvc.lock", json.dumps(lock))
    page = compare(repository, "--base", base)
    assert "**Exactly one variable changed**: parameter `lora.r` 4 → 16." in page and "train@43" not in page


def test_an_experiment_is_found_by_the_name_that_dvc_gave_it(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16})
    tuned = repository.commit()
    repository.git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/tidy-moth", tuned)
    repository.git("update-ref", "refs/exps/exec/EXEC_HEAD", base)
    page = compare(repository, "--base", base, "--head", "tidy-moth")
    assert f"tidy-moth ({tuned[:7]}) against {base}" in page and "parameter `lora.r` 4 → 16" in page
    assert refusal(compare, repository, "--base", "tidy") == "error: tidy: unknown revision; known are tidy-moth, main"
    assert "unknown revision" in refusal(compare, repository, "--base", "EXEC_HEAD")


def test_a_name_of_two_experiments_is_asked_for_by_commit(repository, compare):
    repository.run(60)
    base = repository.commit()
    for folder in (f"{base[:2]}/{base[2:]}", f"{'0' * 2}/{'0' * 38}"):
        repository.git("update-ref", f"refs/exps/{folder}/tidy-moth", base)
    assert refusal(compare, repository, "--base", "tidy-moth") == (
        f"error: tidy-moth: 2 experiments have this name; name a commit: {base}, {base}"
    )


@pytest.mark.parametrize("arguments", [["--base", ""], ["--base", "main", "--head", ""]])
def test_an_empty_revision_is_not_the_working_tree(repository, compare, arguments):
    repository.run(60)
    repository.commit()
    assert refusal(compare, repository, *arguments) == "error: an empty revision; name one, e.g. main"


def test_a_shallow_clone_says_how_to_get_the_history(repository, compare, tmp_path):
    repository.run(60)
    base = repository.commit()
    repository.run(90)
    repository.commit()
    shallow = repository.clone(tmp_path / "shallow", "--depth", "1")
    assert "not in this shallow clone; run `git fetch --unshallow`" in refusal(compare, shallow, "--base", base)


def test_outside_of_a_repository_git_says_so(repository, compare, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    repository.root = tmp_path
    assert "not a git repository" in refusal(compare, repository, "--base", "main")


@pytest.mark.parametrize("path", ["params.yaml", "dvc.lock", "reports/letters/items.jsonl", "reports/letters/metrics.json"])
def test_a_file_that_is_not_there_is_named_with_its_revision(repository, compare, path):
    repository.run(60)
    (repository.root / path).unlink()
    base = repository.commit()
    repository.run(60)
    assert refusal(compare, repository, "--base", base).startswith(f"error: {base}: {path} is missing; run `dvc repro`")


def test_predictions_other_than_the_locked_ones_are_refused(repository, compare):
    repository.run(60)
    base = repository.commit()
    cost = json.loads(repository.read("reports/letters/cost.json"))
    old, cost["predictions_md5"]["tuned_42"] = json.dumps(cost), "0" * 32
    repository.write("reports/letters/cost.json", json.dumps(cost))
    locked = repository.read("dvc.lock")
    repository.write("dvc.lock", locked.replace(md5(old)["md5"], md5(json.dumps(cost))["md5"]))
    said = refusal(compare, repository, "--base", base)
    assert "working tree: reports/letters/items.jsonl was not made from the data/predictions/tuned_42.jsonl in dvc.lock" in said


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("items.jsonl", '"exact": 1.0', '"exact": 0.0'),
        ("metrics.json", '"test"', '"valid"'),
        ("details.json", "{}", '{"totals": null}'),
        ("cost.json", '"tuned_42"', '"tuned_43"'),
    ],
)
def test_a_report_other_than_the_locked_one_is_refused(repository, compare, file, old, new):
    repository.run(60)
    base = repository.commit()
    text = repository.read(f"reports/letters/{file}")
    assert old in text
    repository.write(f"reports/letters/{file}", text.replace(old, new, 1))
    assert f"reports/letters/{file} differs from the one in dvc.lock" in refusal(compare, repository, "--base", base)


def test_a_file_that_holds_no_object_is_named(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.write("reports/letters/metrics.json", "[]")
    assert "reports/letters/metrics.json: not a JSON object" in refusal(compare, repository, "--base", base)


def test_another_device_is_a_variable(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.run(90, {"lora.r": 16}, device="a GPU")
    page = compare(repository, "--base", base)
    assert "**2 variables changed**" in page and "- machine `device_name` a CPU → a GPU" in page


def test_parameters_that_were_never_run_are_refused(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.write("params.yaml", repository.read("params.yaml").replace("r: 4", "r: 64"))
    assert "params.yaml has lora.r = 64, the run was made with 4" in refusal(compare, repository, "--base", base)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda row: row["scores"].pop("tuned_42"), "items.jsonl:3: tuned_42 is scored on some rows only"),
        (lambda row: row["scores"]["tuned_42"].update(exact="high"), "items.jsonl:3: scores.tuned_42.exact: "),
    ],
)
def test_a_wrong_row_is_named_by_its_line(repository, compare, edit, said):
    repository.run(60)
    base = repository.commit()
    rows = [json.loads(line) for line in repository.read("reports/letters/items.jsonl").splitlines()]
    edit(rows[2])
    repository.write("reports/letters/items.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert said in refusal(compare, repository, "--base", base)


def test_a_headline_that_one_side_does_not_measure_is_named(repository, compare):
    repository.run(60, {"report.headline": "bleu"})
    base = repository.commit()
    said = refusal(compare, repository, "--base", base)
    assert f"{base}: bleu, report.headline of {base}, is not among the metrics of its items" in said


def test_a_metric_of_one_side_alone_is_named(repository, compare):
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
