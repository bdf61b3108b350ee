"""What is said about a params.yaml: every mistake at once, each with its key, its value and what is expected."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stages import params, stage
from stages.errors import DataError
from stages.validate.__main__ import _require_start

COMMITTED = params.load(Path(__file__).parents[2] / params.PARAMS)
GONE = object()

HUB = {"source": "hub", "name": "m", "repo": "owner/m", "revision": "main", "chat_template": None, "license": "MIT"}
PART = {"package": "m==1", "file": "m.gguf"}
WHEEL = {"source": "wheel", "name": "m", "parts": [PART], "sha256": "0" * 64, "chat_template": None, "license": "MIT"}
COLUMNS = {"messages": None, "system": None, "instruction": None, "input": "question", "output": "answer"}
COLUMNS |= {"options": None, "group": None}
DOCUMENTS = {
    "kind": "documents",
    "path": "handbook",
    "documents": {"source": "folder"},
    "include": "*",
    "subject": None,
    "system": "Answer.",
    "decline": "I do not know.",
}
SELF_QA = {"synthesis.methods": ["self_qa"]}
ROWS = {"kind": "rows", "path": "x.csv", "hub": None, "task": "text", "system": "", "columns": COLUMNS, "also": [], "orders": 0}
ROWS |= {"valid": 0.1, "test": 0.2}
PREFIX = {"type": "prefix_tuning", "num_virtual_tokens": 5, "prefix_projection": False, "encoder_hidden_size": 8}
ADALORA = {"type": "adalora", "init_r": 8, "target_r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
ADALORA |= {"tinit": 0.1, "tfinal": 0.3, "delta_t": 1, "orth_reg_weight": 0.5}


def with_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """The committed parameters with other values under dotted keys, or without those that are GONE."""
    values = copy.deepcopy(COMMITTED)
    for key, value in changes.items():
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            inner = inner[section]
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    return values


def mistakes(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(DataError) as caught:
        params.check(with_changes(changes))
    return str(caught.value).splitlines()


def test_committed_params_are_valid() -> None:
    assert params.check(COMMITTED).name == COMMITTED["name"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"lora.rr": 8}, "lora.rr = 8: unknown key; did you mean r?"),
        ({"lora.r": "abc"}, "lora.r = 'abc': input should be a valid integer"),
        ({"lora.r": -1}, "lora.r = -1: input should be greater than 0"),
        ({"lora.r": True}, "lora.r = True: input should be a valid integer"),
        ({"lora": None}, "lora = None: input should be a valid dictionary or instance of Lora"),
        ({"lroa": {"r": 8}}, "lroa = {'r': 8}: unknown key; did you mean lora?"),
        ({"train.learnin_rate": 1e-3}, "train.learnin_rate = 0.001: unknown key; did you mean learning_rate?"),
        ({"train.learning_rate": GONE}, "train.learning_rate: missing"),
        ({"seed": GONE}, "seed: missing"),
        ({"lora": GONE}, "lora: missing"),
        ({"name": "???"}, "name = ???: must be set"),
        ({"lora.r": "???"}, "lora.r = ???: must be set"),
        (
            {"quantization.type": "nf5"},
            "quantization.type = 'nf5': input should be 'nf4', 'fp4', 'int8' or 'none'; did you mean nf4?",
        ),
        ({"quantization.type": "gptq"}, "quantization.type = 'gptq': input should be 'nf4', 'fp4', 'int8' or 'none'"),
        ({"name": "../elsewhere"}, "name = '../elsewhere': string should match pattern"),
        ({"seeds": []}, "seeds = []: list should have at least 1 item"),
        ({"seeds": [1, "two"]}, "seeds.1 = 'two': input should be a valid integer"),
        ({"predict.shots": [-1]}, "predict.shots.0 = -1: input should be greater than or equal to 0"),
        ({"model": {**HUB, "repo": "???"}}, "model.repo = ???: must be set"),
        ({"model": HUB | {"reop": "x/y"}}, "model.reop = 'x/y': unknown key; did you mean repo?"),
        ({"model": WHEEL | {"pats": "m==1"}}, "model.pats = 'm==1': unknown key; did you mean parts?"),
        ({"model": WHEEL | {"sha256": "abc"}}, "model.sha256 = 'abc': string should match pattern"),
        (
            {"data": ROWS | {"columns": COLUMNS | {"outptu": "a"}}},
            "data.columns.outptu = 'a': unknown key; did you mean output",
        ),
        ({"data": ROWS | {"vaild": 0.1}}, "data.vaild = 0.1: unknown key; did you mean valid?"),
    ],
)
def test_one_mistake_is_one_line_with_key_value_and_expectation(changes: dict[str, Any], line: str) -> None:
    (found,) = mistakes({"synthesis.methods": ["none"]} | changes)
    assert found.startswith(line)


def test_a_hub_model_without_repo_names_the_key_that_lacks() -> None:
    assert mistakes({"model": {key: value for key, value in HUB.items() if key != "repo"}}) == ["model.repo: missing"]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"model": WHEEL | {"source": "weel"}}, ["model.source = 'weel'", "wheel", "hub", "did you mean wheel?"]),
        ({"model": {key: value for key, value in WHEEL.items() if key != "source"}}, ["model.source: missing"]),
        ({"model": WHEEL | {"source": "???"}}, ["model.source = ???: must be set"]),
        ({"data": ROWS | {"kind": "row"}}, ["data.kind = 'row'", "complaints", "did you mean rows?"]),
    ],
)
def test_a_wrong_choice_between_kinds_of_section_names_the_choosing_key(changes: dict[str, Any], parts: list[str]) -> None:
    (found,) = mistakes(changes)
    assert found.startswith(parts[0])
    assert [part for part in parts if part not in found] == []


def test_an_unset_value_inside_a_list_is_named() -> None:
    assert any("seeds.0" in line and "???" in line for line in mistakes({"seeds": ["???"]}))


def test_all_mistakes_are_reported_at_once() -> None:
    found = mistakes(
        {
            "lora.rr": 8,
            "lora.r": "abc",
            "lora.alpha": -1,
            "lroa": {},
            "seed": GONE,
            "name": "???",
            "quantization.type": "nf5",
            "predict.split": "tset",
        }
    )
    keys = ["lora.alpha", "lora.r", "lora.rr", "lroa", "name", "predict.split", "quantization.type", "seed"]
    assert sorted(line.split(" = ")[0].split(":")[0] for line in found) == keys


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"quantization.type": "nf4", "adapter.type": "full"},
            ["quantization.type = nf4", "adapter.type = full", "quantization=none"],
        ),
        ({"adapter": {"type": "selective"}, "quantization.type": "none"}, ["train.trainable must name the weights"]),
        ({"train.trainable": ["*"]}, ["train.trainable with adapter.type = lora", "only adapter=selective"]),
        ({"adapter": {"type": "llama_pro", "blocks": 2}}, ["quantization.type = nf4", "adapter.type = llama_pro"]),
        ({"lora.init": "pissa"}, ["lora.init = pissa with quantization.type = nf4", "quantization=none"]),
        ({"lora.init": "loftq", "quantization.type": "int8"}, ["lora.init = loftq with quantization.type = int8", "nf4"]),
        ({"lora.init": "loftq", "lora.use_dora": True}, ["lora.use_dora with lora.init = loftq"]),
        ({"adapter": PREFIX, "lora.use_dora": True}, ["lora.use_dora with adapter.type = prefix_tuning: only adapter=lora"]),
        ({"lora.use_dora": True, "quantization.type": "int8"}, ["lora.use_dora with quantization.type = int8", "nf4"]),
        ({"adapter": PREFIX, "train.gradient_checkpointing": True}, ["train.gradient_checkpointing", "prefix_tuning"]),
        ({"adapter": PREFIX, "train.packing": True, "train.group_by_length": False}, ["train.packing", "prefix_tuning"]),
        ({"train.packing": True}, ["train.packing with train.group_by_length"]),
        ({"train.lr_scheduler_type": "constant"}, ["train.lr_scheduler_type = constant with train.warmup_steps"]),
        ({"train.early_stopping_patience": 3}, ["train.save_steps = 40", "train.eval_steps = 50", "make them equal"]),
        ({"adapter": PREFIX, "replay.ewc_lambda": 1.0}, ["replay.ewc_lambda with adapter.type = prefix_tuning"]),
        (
            {"train.prompt_loss_weight": 0.1, "train.objective": "continued_pretraining", "data": DOCUMENTS, **SELF_QA},
            ["train.prompt_loss_weight", "documents have no prompt"],
        ),
        ({"train.objective": "continued_pretraining"}, ["train.objective", "data.kind = complaints has none", "use sft"]),
        (
            {"adapter": PREFIX, "train.start_from": "adapters/x"},
            ["train.start_from with adapter.type = prefix_tuning", "lora.init=default"],
        ),
        ({"lora.init": "loftq", "train.start_from": "adapters/x"}, ["train.start_from", "lora.init = loftq"]),
        (
            {"train.objective": "continued_pretraining", "data": DOCUMENTS, **SELF_QA, "replay.fraction": 0.1},
            ["replay.fraction with train.objective = continued_pretraining"],
        ),
        ({"train.start_from": "models/42/adapter"}, ["train.start_from = models/42/adapter", "copy", "adapters/pretrained"]),
        ({"train.start_from": "./x/../models/42/adapter"}, ["train.start_from", "copy the folder"]),
        ({"replay.ewc_lambda": 1.0, "lora.bias": "all"}, ["replay.ewc_lambda with lora.bias = all", "lora.bias=none"]),
        ({"replay.ewc_lambda": 1.0, "train.start_from": "adapters/x"}, ["replay.ewc_lambda with train.start_from"]),
        ({"adapter": ADALORA | {"target_r": 9}}, ["target_r = 9 is not below init_r = 8"]),
        ({"adapter": ADALORA | {"tinit": 0.8}}, ["tinit + tfinal leave no step"]),
        ({"format.shots": 2, "predict.shots": [0, 3]}, ["predict.shots asks for 3", "format.shots keeps 2"]),
        ({"predict.shots": [0, 0]}, ["predict.shots must not repeat"]),
        (
            {"train.batch_size": 9, "runtime.micro_batch_size": 2},
            ["train.batch_size = 9", "multiple", "runtime.micro_batch_size = 2"],
        ),
        ({"seeds": [42, 42]}, ["seeds must not repeat"]),
        ({"data": ROWS, "synthesis.methods": ["self_instruct"]}, ["synthesis.methods", "data.kind = rows", "synthesis=none"]),
        ({"synthesis.methods": ["none", "self_instruct"]}, ["synthesis", "none stands alone"]),
        ({"synthesis.methods": ["self_instruct", "self_instruct"]}, ["synthesis", "must not repeat"]),
        ({"synthesis.self_instruct.min_words": 61}, ["synthesis.self_instruct", "min_words must not be above max_words"]),
        ({"data": ROWS, "synthesis.methods": ["self_qa"]}, ["synthesis.methods", "self_qa needs documents", "rows has none"]),
        ({"data": DOCUMENTS}, ["synthesis.methods", "data.kind = documents", "synthesis=self_qa"]),
        (
            {"synthesis.self_qa.filters": ["duplicates", "grounded"]},
            ["synthesis.self_qa", "self_contained, grounded, round_trip"],
        ),
        ({"data": DOCUMENTS | {"subject": "doc_.+"}, **SELF_QA}, ["data", "subject must have one group", "it has 0"]),
        ({"data": DOCUMENTS | {"subject": "("}, **SELF_QA}, ["data", "subject is no regular expression"]),
        (
            {"synthesis.self_qa.passage": {"words": 9, "overlap": 9}},
            ["synthesis.self_qa.passage", "overlap must be below words"],
        ),
        ({"synthesis.self_qa.shares.with_passage": 0.9}, ["synthesis.self_qa.shares", "their sum must be below 1"]),
        ({"data": ROWS | {"valid": 0.5, "test": 0.5}}, ["data", "nothing to train on", "below 1"]),
        ({"data": ROWS | {"columns": COLUMNS | {"messages": "chat"}}}, ["data.columns", "set those columns to null"]),
        ({"data": ROWS | {"columns": COLUMNS | {"output": None}}}, ["data.columns", "output together with"]),
        ({"data": ROWS | {"task": "choice"}}, ["data", "task: choice and columns.options go together"]),
        ({"data": ROWS | {"columns": COLUMNS | {"options": "o"}}}, ["data", "task: choice and columns.options go together"]),
        ({"data": ROWS | {"orders": 2}}, ["data", "orders = 2 with task = text", "set it to 0"]),
        (
            {"data": ROWS | {"columns": dict.fromkeys(COLUMNS) | {"messages": "m"}, "also": [{"system": "s", "output": "o"}]}},
            ["data", "columns.messages", "set it to []"],
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line_that_names_them(changes: dict[str, Any], parts: list[str]) -> None:
    (found,) = mistakes(changes)
    assert [part for part in parts if part not in found] == []


def test_several_forbidden_combinations_are_reported_together() -> None:
    found = mistakes({"quantization.type": "nf4", "adapter.type": "full", "seeds": [1, 1], "predict.shots": [99]})
    assert len(found) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"model": HUB},
        {"model": {"source": "path", "name": "m", "path": "/models/mine", "license": "unknown"}},
        {"data": ROWS, "synthesis.methods": ["none"]},
        {"data": DOCUMENTS, **SELF_QA},
        {
            "data": DOCUMENTS | {"documents": {"source": "wheel", "package": "m==1", "file": "d.json", "sha256": "0" * 64}},
            **SELF_QA,
        },
        {"quantization.type": "none", "adapter.type": "full"},
        {"lora.target_modules": ["q_proj", "v_proj"]},
        {"lora.dropout": 0},
        {"train.max_steps": 10},
        {"train.start_from": "adapters/pretrained"},
        {"train.objective": "continued_pretraining", "data": DOCUMENTS, **SELF_QA},
        {"replay.ewc_lambda": 1.0},
    ],
)
def test_every_offered_choice_is_accepted(changes: dict[str, Any]) -> None:
    params.check(with_changes(changes))


@pytest.mark.parametrize(
    ("adapter", "rate", "range_named"),
    [
        ("lora", 1e-4, None),
        ("lora", 5e-4, None),
        ("lora", 1e-3, "0.0001 to 0.0005"),
        ("lora", 3e-5, "0.0001 to 0.0005"),
        ("full", 4e-5, None),
        ("full", 2e-4, "3e-05 to 5e-05"),
    ],
)
def test_a_learning_rate_outside_the_sources_ranges_is_advised_against(
    adapter: str, rate: float, range_named: str | None
) -> None:
    changes = {"quantization.type": "none", "adapter.type": adapter, "train.learning_rate": rate, "train.num_train_epochs": 3.0}
    advice = params.check(with_changes(changes)).advice()
    if range_named is None:
        assert advice == []
    else:
        assert len(advice) == 1
        assert f"train.learning_rate = {rate:g}" in advice[0]
        assert range_named in advice[0]


@pytest.mark.parametrize(("epochs", "steps", "said"), [(3.0, None, 0), (1.0, None, 1), (11.0, None, 1), (1.0, 200, 0)])
def test_fewer_or_more_epochs_than_the_sources_use_are_advised_against(epochs: float, steps: int | None, said: int) -> None:
    changes = {"train.learning_rate": 2e-4, "train.num_train_epochs": epochs, "train.max_steps": steps}
    advice = params.check(with_changes(changes)).advice()
    assert [f"train.num_train_epochs = {epochs:g}" in line for line in advice] == [True] * said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed: 42\nlora: [8\nname: x\n", r"p\.yaml:3: not YAML"),
        (b"seed: 42\n\tname: x\n", r"p\.yaml:2: not YAML"),
        (b"seed: 42\nseed: 43\n", r'p\.yaml:2: not YAML: found duplicate key "seed"'),
        (b"x: !!python/object/apply:os.getcwd []\n", r"p\.yaml:1: not YAML"),
        (b"- 1\n- 2\n", r"p\.yaml: must hold sections"),
        (b"", r"p\.yaml: must hold sections"),
        ("name: Beschwerdeführer\n".encode("latin-1"), r"p\.yaml.*UTF-8"),
        (None, r"p\.yaml: no such file"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_refused_with_its_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        params.load(path)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("rate: 1e-3\nbig: 1.0e+3\nno: no\n", encoding="utf-8")
    assert params.load(path) == {"rate": 0.001, "big": 1000.0, "no": "no"}


def test_a_stage_gets_the_sections_it_names_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(COMMITTED)
    got = params.read("seed", "lora", "synthesis.self_instruct")
    assert vars(got).keys() == {"seed", "lora", "synthesis"} and vars(got.synthesis).keys() == {"self_instruct"}
    assert (got.seed, got.lora.r) == (COMMITTED["seed"], COMMITTED["lora"]["r"])
    with pytest.raises(AttributeError):
        got.train  # noqa: B018
    with pytest.raises(AttributeError):
        got.synthesis.budget  # noqa: B018


def test_a_stage_stops_at_a_mistake_in_a_section_it_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(with_changes({"lora.r": "abc", "lora.rr": 8}))
    with pytest.raises(SystemExit) as stopped:
        stage.run(lambda: print(params.read("seed")))
    assert str(stopped.value).splitlines() == [
        "error: params.yaml: lora.r = 'abc': input should be a valid integer",
        "error: params.yaml: lora.rr = 8: unknown key; did you mean r?",
    ]
    assert capsys.readouterr().out == ""


def save(values: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    YAML(typ="safe", pure=True).dump(values, params.PARAMS)


def test_training_does_not_go_on_from_what_loftq_left(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"r": 8, "loftq_config": {}}), encoding="utf-8")
    _require_start(str(tmp_path), whole=False)
    config.write_text(json.dumps({"r": 8, "loftq_config": {"type": "nf4", "double_quant": True}}), encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.start_from = .* was trained with lora\.init=loftq"):
        _require_start(str(tmp_path), whole=False)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]"])
def test_a_damaged_adapter_to_go_on_from_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"its adapter_config\.json is damaged"):
        _require_start(str(tmp_path), whole=False)


def test_a_whole_model_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"^train\.start_from = .*: is no whole model: "):
        _require_start(str(tmp_path), whole=True)


@pytest.mark.parametrize(("there", "whole"), [("adapter_config.json", True), ("config.json", False)])
def test_training_does_not_go_on_from_a_whole_model_with_an_adapter_nor_the_reverse(there: str, whole: bool, tmp_path: Path):
    (tmp_path / there).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.start_from = .*: has no (adapter_)?config\.json, so it is no"):
        _require_start(str(tmp_path), whole=whole)


def test_weights_cut_short_to_go_on_from_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(DataError, match=r"adapter_model\.safetensors: damaged"):
        _require_start(str(tmp_path), whole=False)
