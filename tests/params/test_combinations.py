"""Combinations of values in params.yaml: accepted, refused, or accepted with advice."""

from typing import Any

import pytest

from stages import params
from tests.fixtures.schema import (
    ADALORA,
    COLUMNS,
    DOCUMENTS,
    HUB,
    OF_TEXTS,
    PREFIX,
    RANDOM,
    ROWS,
    SELF_QA,
    TEXTS,
    mistakes,
    with_changes,
)

NONE = {"synthesis.methods": ["none"]}


def processes(number: int) -> dict[str, Any]:
    return {"runtime.launcher": "ddp", "runtime.processes": number}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"quantization.type": "nf4", "adapter.type": "full"},
            ["quantization.type = nf4", "adapter.type = full", "quantization=none"],
        ),
        ({"adapter": {"type": "selective", "trainable": []}, "quantization.type": "none"}, ["adapter.trainable", "at least 1"]),
        ({"adapter": {"type": "lora", "trainable": ["*"]}}, ["adapter.trainable", "belongs to adapter.type = selective"]),
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
        ({"pretrain": TEXTS | {"prompt_loss_weight": 0.1}, **OF_TEXTS}, ["pretrain.prompt_loss_weight", "have no prompt"]),
        ({"pretrain": TEXTS}, ["pretrain.type = documents: data.kind = complaints has no documents", "pretrain=none"]),
        (
            {"pretrain": TEXTS, **OF_TEXTS, "model": RANDOM | {"architecture": "t5"}},
            ["pretrain.type = documents with model.architecture = t5", "spans to fill in"],
        ),
        (
            {"pretrain": TEXTS, **OF_TEXTS, "adapter": {"type": "llama_pro", "blocks": 2}, "quantization.type": "none"},
            ["pretrain.type = documents with adapter.type = llama_pro", "ia3, full, selective, and lora"],
        ),
        ({"pretrain": TEXTS, **OF_TEXTS, "adapter": PREFIX}, ["pretrain.type = documents with adapter.type = prefix_tuning"]),
        ({"pretrain": TEXTS, **OF_TEXTS, "lora.init": "loftq"}, ["pretrain.type = documents", "lora.init = loftq"]),
        (
            {"pretrain": TEXTS, **OF_TEXTS, "train.start_from": "adapters/x"},
            ["with train.start_from = adapters/x", "set train.start_from=adapters/none or pretrain=none"],
        ),
        ({"pretrain": TEXTS | {"packing": True}, **OF_TEXTS}, ["pretrain.packing with pretrain.group_by_length"]),
        (
            {"pretrain": TEXTS | {"batch_size": 9}, **OF_TEXTS, "runtime.micro_batch_size": 2},
            ["pretrain.batch_size = 9", "runtime.micro_batch_size = 2"],
        ),
        (
            {"adapter": PREFIX, "train.start_from": "adapters/x"},
            ["train.start_from with adapter.type = prefix_tuning", "lora.init=default"],
        ),
        ({"lora.init": "loftq", "train.start_from": "adapters/x"}, ["train.start_from", "lora.init = loftq"]),
        ({"train.start_from": "models/42/adapter"}, ["train.start_from = models/42/adapter", "copy", "`tunetrail keep NAME`"]),
        ({"train.start_from": "./x/../models/42/adapter"}, ["train.start_from", "store a copy"]),
        ({"replay.ewc_lambda": 1.0, "lora.bias": "all"}, ["replay.ewc_lambda with lora.bias = all", "lora.bias=none"]),
        ({"adapter": ADALORA | {"target_r": 9}}, ["target_r = 9 is not below init_r = 8"]),
        ({"adapter": ADALORA | {"tinit": 0.8}}, ["tinit + tfinal leave no step"]),
        ({"format.shots": 2, "predict.shots": [0, 3]}, ["predict.shots needs 3", "format.shots keeps 2"]),
        ({"predict.shots": [0, 0]}, ["predict.shots must not repeat"]),
        (
            {"train.batch_size": 9, "runtime.micro_batch_size": 2},
            ["train.batch_size = 9", "multiple", "runtime.micro_batch_size = 2"],
        ),
        (
            {"train.batch_size": 8, "runtime.micro_batch_size": 4, **processes(3)},
            ["train.batch_size = 8", "multiple of runtime.micro_batch_size = 4 x runtime.processes = 3"],
        ),
        ({"train.batch_size": 9, "runtime.micro_batch_size": "auto", **processes(2)}, ["= auto x runtime.processes = 2"]),
        ({"train.batch_size": 1, "runtime.micro_batch_size": "auto", **processes(2)}, ["= auto x runtime.processes = 2"]),
        (
            {"adapter": ADALORA, "runtime.micro_batch_size": 2, **processes(2), "runtime.launcher": "deepspeed"},
            ["runtime.launcher = deepspeed with adapter.type = adalora"],
        ),
        ({"adapter": ADALORA, "train.precision": "fp16"}, ["train.precision = fp16 with adapter.type = adalora"]),
        (
            {"train.precision": "fp16", "runtime.micro_batch_size": 2, **processes(2), "runtime.launcher": "deepspeed"},
            ["train.precision = fp16", "runtime.launcher = deepspeed"],
        ),
        ({"train.precision": "fp16", "replay.ewc_lambda": 1.0}, ["replay.ewc_lambda with train.precision = fp16"]),
        ({"runtime.processes": 2}, ["runtime: launcher = none with processes = 2: use launcher=ddp, or processes=1"]),
        ({"runtime.launcher": "ddp"}, ["runtime: launcher = ddp with processes = 1: use launcher=none, or processes=2"]),
        ({"seeds": [42, 42]}, ["seeds must not repeat"]),
        ({"seeds": [42, 43], "evaluate.vote": True}, ["evaluate.vote needs at least 3 models", "predict.kept"]),
        ({"data": ROWS, "synthesis.methods": ["self_instruct"]}, ["synthesis.methods", "data.kind = rows", "synthesis=none"]),
        ({"synthesis.methods": ["none", "self_instruct"]}, ["synthesis", "none cannot be combined"]),
        ({"synthesis.methods": ["self_instruct", "self_instruct"]}, ["synthesis", "must not repeat"]),
        ({"synthesis.self_instruct.min_words": 61}, ["synthesis.self_instruct", "min_words must not be above max_words"]),
        ({"data": ROWS, "synthesis.methods": ["self_qa"]}, ["synthesis.methods", "self_qa needs documents", "rows has none"]),
        ({"data": DOCUMENTS}, ["synthesis.methods", "data.kind = documents", "synthesis=self_qa"]),
        (
            {"synthesis.self_qa.filters": ["duplicates", "grounded"]},
            ["synthesis.self_qa", "self_contained, grounded, round_trip"],
        ),
        ({"data": DOCUMENTS | {"subject": "doc_.+"}, **SELF_QA}, ["data", "subject must have one group", "it has 0"]),
        ({"data": DOCUMENTS | {"subject": "("}, **SELF_QA}, ["data", "subject is not a regular expression"]),
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
        (
            {
                "data": ROWS | {"valid": 0.0},
                **NONE,
                "predict.split": "valid",
                "predict.shots": [0],
                "report.headline": "token_f1",
            },
            ["predict.split = valid: data.valid is 0, so it has no rows"],
        ),
        (
            {"data": ROWS | {"test": 0.0}, **NONE, "predict.split": "test", "report.headline": "token_f1"},
            ["predict.split = test: data.test is 0, so it has no rows"],
        ),
        (
            {"data": ROWS | {"valid": 0.0}, **NONE, "predict.shots": [0, 1], "report.headline": "token_f1"},
            ["predict.shots: examples are validation rows, but data.valid is 0"],
        ),
        (
            {"data": ROWS, "synthesis.methods": ["none"], "report.headline": "length_in_band"},
            ["report.headline = length_in_band", "data.task = text", "token_f1"],
        ),
        (
            {"data": ROWS | {"columns": "auto"}, **NONE, "report.headline": "required_phrases"},
            ["report.headline = required_phrases", "data.task = text", "token_f1"],
        ),
        (
            {"data": ROWS, "synthesis.methods": ["none"], "report.headline": "field_exact"},
            ["report.headline = field_exact", "data.task = text", "token_f1"],
        ),
        (
            {"data": ROWS, "synthesis.methods": ["none"], "report.headline": "rouge_1@hard"},
            ["report.headline = rouge_1@hard", "data.task = text"],
        ),
        (
            {"data": ROWS | {"task": "translation"}, "synthesis.methods": ["none"], "report.headline": "bleu"},
            ["report.headline = bleu", "sentence_bleu"],
        ),
        ({"data": ROWS, **NONE, "report.headline": "declined"}, ["headline = declined: data.task = text has no", "answered"]),
        ({"data": ROWS, **NONE, "report.headline": "token_f1@hard"}, ["data.task = text has no slice hard; there are none"]),
        (
            {"data": DOCUMENTS, **SELF_QA, "report.headline": "token_f1@unanswerable"},
            ["rows of the slice unanswerable have no token_f1; they have declined, stop_rate"],
        ),
        ({"report.headline": "field_exact@rare"}, ["data.kind = complaints has no slice rare; there are clean, missing"]),
        (
            {
                "report.headline": "meteor",
                "evaluate.extra": ["meteor@" + "0" * 40],
                "evaluate.allow_code": True,
            },
            ["report.headline = meteor", "field_exact"],
        ),
        ({"data": DOCUMENTS, **SELF_QA, "report.headline": "accuracy"}, ["report.headline", "data.kind = documents"]),
        ({"report.headline": "token_f1"}, ["report.headline = token_f1", "data.kind = complaints", "field_exact"]),
        ({"data": ROWS | {"labels": {0: "no", 1: "yes"}}}, ["data", "labels with task = text", "set it to null"]),
        ({"data": ROWS | {"orders": 2}}, ["data", "orders = 2 with task = text", "set it to 0"]),
        (
            {"data": ROWS | {"columns": dict.fromkeys(COLUMNS) | {"messages": "m"}, "also": [{"system": "s", "output": "o"}]}},
            ["data", "columns.messages", "set it to []"],
        ),
    ],
)
def test_refused_combination_is_one_line_with_its_options(changes: dict[str, Any], parts: list[str]) -> None:
    (found,) = mistakes(changes)
    assert [part for part in parts if part not in found] == []


def test_refused_combinations_are_reported_together() -> None:
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
        {"train.batch_size": 9, "runtime.micro_batch_size": "auto"},
        {"train.batch_size": 9, "runtime.micro_batch_size": "auto", **processes(3)},
        {"train.start_from": "adapters/pretrained"},
        {"pretrain": TEXTS, **OF_TEXTS},
        {"pretrain": TEXTS, **OF_TEXTS, "adapter": {"type": "selective", "trainable": ["*"]}, "quantization.type": "none"},
        {"train.start_from": "adapters/x", "replay.ewc_lambda": 1.0},
        {"pretrain": TEXTS, **OF_TEXTS, "replay.ewc_lambda": 1.0},
        {"replay.ewc_lambda": 1.0},
        {"seeds": [42], "predict.kept": ["one", "two"], "evaluate.vote": True},
    ],
)
def test_every_offered_choice_is_accepted(changes: dict[str, Any]) -> None:
    params.check(with_changes(changes))


def test_advice_names_the_stronger_baseline_of_extraction() -> None:
    rows = {"data": ROWS | {"task": "extraction"}, **NONE, "train.learning_rate": 2e-4, "train.num_train_epochs": 3.0}
    assert "predict.constrain = none" in params.check(with_changes(rows | {"predict.constrain": "none"})).advice()[0]
    for changes in (rows | {"predict.constrain": "json"}, rows | {"data": ROWS, "predict.constrain": "none"}):
        assert params.check(with_changes(changes)).advice() == []


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
def test_advice_names_the_usual_range_of_learning_rates(adapter: str, rate: float, range_named: str | None) -> None:
    changes = {"quantization.type": "none", "adapter.type": adapter, "train.learning_rate": rate, "train.num_train_epochs": 3.0}
    advice = params.check(with_changes(changes)).advice()
    if range_named is None:
        assert advice == []
    else:
        assert len(advice) == 1
        assert f"train.learning_rate = {rate:g}" in advice[0]
        assert range_named in advice[0]


@pytest.mark.parametrize(("epochs", "steps", "lines"), [(3.0, None, 0), (1.0, None, 1), (11.0, None, 1), (1.0, 200, 0)])
def test_advice_names_the_usual_number_of_epochs(epochs: float, steps: int | None, lines: int) -> None:
    changes = {"train.learning_rate": 2e-4, "train.num_train_epochs": epochs, "train.max_steps": steps}
    advice = params.check(with_changes(changes)).advice()
    assert [f"train.num_train_epochs = {epochs:g}" in line for line in advice] == [True] * lines
