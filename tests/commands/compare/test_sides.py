"""Which runs `tunetrail compare` reads from git, and which it refuses."""

import json

import pytest
from ruamel.yaml import YAML

from tests.commands.compare.conftest import md5, refusal


def test_an_unknown_revision_lists_known_ones(repository, compare):
    repository.run(60)
    repository.commit()
    assert refusal(compare, repository, "--base", "mian") == "error: mian: unknown revision; known are main"


def test_stages_of_earlier_runs_in_the_lock_are_ignored(repository, compare):
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


def test_a_lock_of_many_stages_is_read(repository, compare):
    repository.run(60)
    base = repository.commit()
    locked = repository.read("dvc.lock")
    repository.write("dvc.lock", locked + "#" * 150_000)
    assert "No difference" in compare(repository, "--base", base)
    repository.write("dvc.lock", locked + "#" * 1_000_000)
    assert "more than the 1,000,000 that are read" in refusal(compare, repository, "--base", base)


def test_an_experiment_is_found_by_its_dvc_name(repository, compare):
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


def test_a_name_of_two_experiments_needs_a_commit(repository, compare):
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


def test_a_shallow_clone_needs_its_history(repository, compare, tmp_path):
    repository.run(60)
    base = repository.commit()
    repository.run(90)
    repository.commit()
    shallow = repository.clone(tmp_path / "shallow", "--depth", "1")
    assert "not in this shallow clone; run `git fetch --unshallow`" in refusal(compare, shallow, "--base", base)


def test_outside_of_a_repository_the_error_is_that_of_git(repository, compare, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    repository.root = tmp_path
    assert "not a git repository" in refusal(compare, repository, "--base", "main")


@pytest.mark.parametrize("path", ["params.yaml", "dvc.lock", "reports/letters/items.jsonl", "reports/letters/metrics.json"])
def test_a_missing_file_is_named_with_its_revision(repository, compare, path):
    repository.run(60)
    (repository.root / path).unlink()
    base = repository.commit()
    repository.run(60)
    assert refusal(compare, repository, "--base", base).startswith(f"error: {base}: {path} is missing; run `dvc repro`")


def test_predictions_that_differ_from_the_lock_are_refused(repository, compare):
    repository.run(60)
    base = repository.commit()
    cost = json.loads(repository.read("reports/letters/cost.json"))
    old, cost["predictions_md5"]["tuned_42"] = json.dumps(cost), "0" * 32
    repository.write("reports/letters/cost.json", json.dumps(cost))
    locked = repository.read("dvc.lock")
    repository.write("dvc.lock", locked.replace(md5(old)["md5"], md5(json.dumps(cost))["md5"]))
    message = refusal(compare, repository, "--base", base)
    assert "reports/letters/items.jsonl was not made from the data/predictions/tuned_42.jsonl in dvc.lock" in message


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("items.jsonl", "[1.0", "[0.0"),
        ("metrics.json", '"test"', '"valid"'),
        ("details.json", "{}", '{"totals": {}}'),
        ("cost.json", '"tuned_42"', '"tuned_43"'),
    ],
)
def test_a_report_that_differs_from_the_lock_is_refused(repository, compare, file, old, new):
    repository.run(60)
    base = repository.commit()
    text = repository.read(f"reports/letters/{file}")
    assert old in text
    repository.write(f"reports/letters/{file}", text.replace(old, new, 1))
    assert f"reports/letters/{file} differs from the one in dvc.lock" in refusal(compare, repository, "--base", base)


def test_a_file_without_an_object_is_named(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.write("reports/letters/metrics.json", "[]")
    assert "reports/letters/metrics.json: Input should be an object" in refusal(compare, repository, "--base", base)


def test_parameters_that_were_never_run_are_refused(repository, compare):
    repository.run(60)
    base = repository.commit()
    repository.write("params.yaml", repository.read("params.yaml").replace("r: 4", "r: 64"))
    assert "params.yaml has lora.r = 64, the run was made with 4" in refusal(compare, repository, "--base", base)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row["scores"].pop("tuned_42"), "items.jsonl:3: tuned_42 is scored on some rows only"),
        (lambda row: row["scores"].update(tuned_42=["high", 1.0]), "items.jsonl:3: scores.tuned_42.exact: "),
        (lambda row: row["scores"].update(tuned_42=[1.0]), "items.jsonl:3: Value error, scores.tuned_42: one score or"),
        (lambda row: row["scores"].update(tuned_42=1.0), "items.jsonl:3: Value error, scores.tuned_42: one score or"),
        (lambda row: row.pop("metrics"), "items.jsonl:3: scores.base_0shot: "),
    ],
)
def test_a_wrong_row_is_named_by_its_line(repository, compare, edit, message):
    repository.run(60)
    base = repository.commit()
    rows = [json.loads(line) for line in repository.read("reports/letters/items.jsonl").splitlines()]
    edit(rows[2])
    repository.write("reports/letters/items.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert message in refusal(compare, repository, "--base", base)


def test_a_headline_missing_on_one_side_is_named(repository, compare):
    repository.run(60, {"report.headline": "bleu"})
    base = repository.commit()
    message = refusal(compare, repository, "--base", base)
    assert f"{base}: has no bleu, which is report.headline of {base}; name a commit with a run of the same task" in message
