"""`tunetrail benchmark import`: files as lm-evaluation-harness 0.4 and HELM 0.5 write them."""

import hashlib
import json
from pathlib import Path

import pytest

from stages import locks
from stages.commands.benchmark import results
from stages.errors import DataError
from stages.figures.assessments import Benchmarks
from stages.params import PARAMS, compose
from tests.fixtures.markup import ATTACKS, effects

LM_EVAL = {
    "results": {
        "rte": {"name": "rte", "alias": "rte", "sample_len": 277, "acc,none": 0.54, "acc_stderr,none": 0.03},
        "gsm8k": {"exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": "N/A"},
    },
    "n-samples": {"rte": {"original": 14042, "effective": 14042}},
    "model_name": "tiny tuned_42",
}
HELM_SPEC = {"name": "mmlu:subject=anatomy,model=openai_gpt2", "adapter_spec": {"model": "openai/gpt2"}}
PERTURBED = {"name": "dialect", "robustness": False, "fairness": True, "computed_on": "worst"}
HELM_STATS = [
    {"name": {"name": "exact_match", "split": "test"}, "count": 1, "sum": 0.25, "mean": 0.25, "stddev": 0.0},
    {"name": {"name": "exact_match", "split": "test", "perturbation": PERTURBED}, "count": 1, "sum": 0.2, "mean": 0.2},
    {"name": {"name": "exact_match", "split": "valid"}, "count": 1, "sum": 0.5, "mean": 0.5},
    {"name": {"name": "num_prompt_tokens", "split": "test"}, "count": 1, "sum": 300.0, "mean": 300.0},
    {"name": {"name": "exact_match@5", "split": "test"}, "count": 0, "sum": 0},
]


KEPT = Path("data/authored/assessments/smoke/benchmarks.json")
MEASURED = {"models/base.json": "a" * 32, "data/predictions/tuned_42.jsonl": "b" * 32}


@pytest.fixture(autouse=True)
def experiment(tmp_path, monkeypatch):
    """Make the current folder one of the experiment smoke."""
    monkeypatch.chdir(tmp_path)
    compose.compose(["experiment=smoke"], PARAMS)


@pytest.fixture
def files(tmp_path):
    """Write a results file of lm-eval and a run folder of HELM."""
    run = tmp_path / "runs" / "mmlu"
    run.mkdir(parents=True)
    (run / "run_spec.json").write_text(json.dumps(HELM_SPEC))
    (run / "stats.json").write_text(json.dumps(HELM_STATS))
    (tmp_path / "results.json").write_text(json.dumps(LM_EVAL))
    return tmp_path / "results.json", run / "stats.json"


def test_lm_eval_gives_value_standard_error_and_n_per_metric(files):
    rte, gsm8k = results.read(files[0])
    assert (rte.task, rte.metric, rte.value, rte.stderr, rte.n) == ("rte", "acc", 0.54, 0.03, 14042)
    assert (gsm8k.metric, gsm8k.stderr, gsm8k.n) == ("exact_match (strict-match)", None, None)
    assert {rte.model, gsm8k.model} == {"tiny tuned_42"}


def test_helm_gives_quality_metrics_of_the_test_split_only(files):
    values = {result.metric: result.value for result in results.read(files[1])}
    assert values == {"exact_match": 0.25, "exact_match (dialect, worst)": 0.2}
    assert {(r.task, r.model, r.harness) for r in results.read(files[1])} == {("mmlu:subject=anatomy", "openai/gpt2", "helm")}


def kept() -> Benchmarks:
    return Benchmarks.model_validate_json(KEPT.read_bytes())


def test_one_table_shows_both_harnesses(files, capsys):
    results.table(files)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| gsm8k | exact_match (strict-match) | tiny tuned_42 | 0.1000 | – | – | lm-eval |",
        "| mmlu:subject=anatomy | exact_match | openai/gpt2 | 0.2500 | – | – | helm |",
        "| mmlu:subject=anatomy | exact_match (dialect, worst) | openai/gpt2 | 0.2000 | – | – | helm |",
        "| rte | acc | tiny tuned_42 | 0.5400 | 0.03 | 14,042 | lm-eval |",
    ]
    assert len(kept().results) == 4


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "neither results of lm-eval"), ("{", r"other\.json:1: not JSON"), ("{}", "neither results")]
)
def test_another_file_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(DataError, match=message):
        results.read(tmp_path / "other.json")


def test_values_other_than_numbers_are_skipped(files):
    files[0].write_text(json.dumps({"results": {"rte": {"acc,none": None, "f1,none": True, "mcc,none": [1], "bleu,none": 3}}}))
    assert [(result.metric, result.value) for result in results.read(files[0])] == [("bleu", 3)]
    files[1].write_text(json.dumps([{**stat, "mean": None} for stat in HELM_STATS]))
    assert results.read(files[1]) == []


@pytest.mark.parametrize("content", [{"results": {"mmlu": 3}}, {"results": {"mmlu": {"acc,none": 1}}, "n-samples": 3}])
def test_results_of_another_structure_are_refused_by_name(files, content):
    files[0].write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"results\.json: does not have the structure of results of lm-eval"):
        results.read(files[0])


@pytest.mark.parametrize("name", ["run_spec.json", "stats.json"])
@pytest.mark.parametrize(
    "content", [{}, [3], [{"name": "x", "count": 1, "mean": 1}], {"name": 1, "adapter_spec": {"model": "m"}}]
)
def test_helm_run_of_another_structure_is_refused_by_name(files, name, content):
    files[1].with_name(name).write_text(json.dumps(content))
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        results.read(files[1])


@pytest.mark.parametrize("attack", ATTACKS)
def test_names_from_a_results_file_cannot_mark_up_the_table(tmp_path, capsys, attack):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"model_name": attack, "results": {attack: {f"{attack.replace(',', '')},none": 0.5}}}))
    results.table([path])
    table = capsys.readouterr().out
    assert effects(table) == ([], []) and len(table.splitlines()) == 3 and "\x1b" not in table


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"results": {"t": {"acc,none": 1e999}}}', "value of a result: Input should be a finite number"),
        ('{"results": {"t": {"acc,none": NaN}}}', "value of a result: Input should be a finite number"),
        ('{"results": {"t": {"acc,none": 1' + "0" * 400 + "}}}", "value of a result: Input should be a valid number"),
        ('{"results": {"t": {"acc,none": 0.5}}, "model_name": {"a": 1}}', "model of a result: Input should be a valid string"),
        ('{"results": {"t": {"acc,none": 0.5}}, "n-samples": {"t": {"effective": "abc"}}}', "n of a result: Input should be"),
        ('{"results": {"t": {"acc,none": 0.5}}, "n-samples": {"t": {"effective": 1e9}}}', "n of a result: Input should be"),
        ('{"results": {"t": {"acc,none": 0.5}}, "n-samples": {"t": 5}}', "does not have the structure"),
        ('{"results": {"t": 5}}', "does not have the structure"),
        ('{"results": ' + "[" * 100_000 + "]" * 100_000 + "}", "cannot be read as JSON"),
    ],
)
def test_number_or_name_of_another_kind_is_refused(text, wrong, tmp_path):
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        results.table([path])
    assert str(refused.value).startswith(f"{path}: {wrong}") and not KEPT.exists()


@pytest.mark.parametrize(
    ("stat", "wrong"),
    [
        ({"name": {"name": "x", "split": "test"}, "count": 1, "mean": float("inf")}, "value of a result"),
        ({"name": {"name": 5, "split": "test"}, "count": 1, "mean": 1}, "does not have the structure"),
    ],
)
def test_statistic_of_another_kind_is_refused(files, stat, wrong):
    files[1].write_text(json.dumps([stat]))
    with pytest.raises(DataError, match=wrong):
        results.read(files[1])


def test_standard_error_that_is_no_number_is_left_out(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"results": {"t": {"acc,none": 0.5, "acc_stderr,none": NaN}}}')
    assert [result.stderr for result in results.read(path)] == [None]


def test_second_import_for_one_experiment_stops(files, monkeypatch):
    monkeypatch.setattr(locks, "TRIES", 1)
    with locks.take(KEPT), pytest.raises(DataError, match=r"smoke/benchmarks\.json: process .* works on it"):
        results.table(files)


def test_what_was_measured_is_kept_by_hash(files):
    files[0].write_text(json.dumps({**LM_EVAL, "inputs": MEASURED}))
    results.table(files)
    read = {f"results {number}": hashlib.md5(path.read_bytes()).hexdigest() for number, path in enumerate(files, start=1)}
    assert kept().inputs == MEASURED | read
    assert kept().unrecorded == ["openai/gpt2"]  # HELM does not hash what it measures


def test_systems_measured_on_two_bases_are_refused(files, tmp_path):
    files[0].write_text(json.dumps({**LM_EVAL, "inputs": MEASURED}))
    later = tmp_path / "later.json"
    later.write_text(json.dumps({**LM_EVAL, "inputs": {"models/base.json": "c" * 32}}))
    with pytest.raises(
        DataError, match=r"later\.json: another models/base\.json was measured than for the files before it; run"
    ):
        results.table([files[0], later])
    assert not KEPT.exists()


@pytest.mark.parametrize("inputs", [[], "x", {}, {"models/base.json": "\n"}, {"models/base.json": {}}, {"a\nb": 1}, {"a": "b"}])
def test_inputs_that_are_no_hashes_are_refused(files, inputs):
    files[0].write_text(json.dumps({**LM_EVAL, "inputs": inputs}))
    with pytest.raises(DataError, match=r"^\S+results\.json: inputs: no hash of models/base\.json; run .* again, or remove"):
        results.table(files)


@pytest.mark.parametrize("sign", ["\ud800", "\x1b[2J", "\x00", "\u202e"])
def test_names_are_written_so_that_anything_can_show_them(sign, tmp_path):
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps({"results": {f"t{sign}": {f"a{sign},none": 0.5}}, "model_name": f"m{sign}"}))
    results.table([path])
    (row,) = kept().results
    assert all(sign not in name and "\\" in name for name in (row.task, row.metric, row.model))
