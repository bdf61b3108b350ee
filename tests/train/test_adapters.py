"""Every way to adapt a model, on tiny ones: each trains, is stored, loads again, predicts the same and resumes."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from stages.errors import DataError
from stages.generation import decoding
from stages.models import loading, sources
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned
from stages.training import adapt, trainer
from tests.fixtures.training import output_of, weights_of

pytestmark = pytest.mark.model

CASES = {  # adapter, quantization, changes
    "full": ("full", "none", {}),
    "selective": ("selective", "none", {"adapter.trainable": ["*layers.1.*"]}),
    "pissa": ("lora", "none", {"lora.init": "pissa"}),
    "adalora": ("adalora", "none", {"train.learning_rate": 0.9}),
    "ia3": ("ia3", "none", {"train.learning_rate": 0.9}),
    "prompt_tuning": ("prompt_tuning", "none", {}),
    "prefix_tuning": ("prefix_tuning", "none", {}),
    "prefix_projection": ("prefix_tuning", "none", {"adapter.prefix_projection": True}),
    "p_tuning": ("p_tuning", "none", {}),
    "llama_pro": ("llama_pro", "none", {"adapter.blocks": 2}),
    # Only tensors of at least 4,096 values, here the embedding, have an 8-bit state.
    "full adamw_8bit": ("full", "none", {"train.optim": "adamw_8bit"}),
    "lora nf4": ("lora", "nf4", {}),
    "lora int8": ("lora", "int8", {}),
    "loftq nf4": ("lora", "nf4", {"lora.init": "loftq"}),
    "dora and rslora nf4": ("lora", "nf4", {"lora.use_dora": True, "lora.use_rslora": True}),
    "adalora nf4": ("adalora", "nf4", {"train.learning_rate": 0.9}),
    "ia3 nf4": ("ia3", "nf4", {"train.learning_rate": 0.9}),
    "prompt_tuning nf4": ("prompt_tuning", "nf4", {}),
    "prefix_tuning nf4": ("prefix_tuning", "nf4", {}),
    "p_tuning nf4": ("p_tuning", "nf4", {}),
    "ia3 int8": ("ia3", "int8", {"train.learning_rate": 0.9}),
    "adalora int8": ("adalora", "int8", {"train.learning_rate": 0.9}),
}

SEQ2SEQ = ["full", "lora nf4", "prompt_tuning", "prefix_tuning", "ia3 nf4", "adalora int8"]


def check_loaded_adapter(p, trained, weights, manifest, folder) -> dict[str, int]:
    model, run = trained(p, weights)
    assert run.steps == 2
    untuned, tuned = output_of(loading.load_base(weights, "cpu", p.quantization)), output_of(model)
    changed = (tuned - untuned).norm()
    assert changed > 0.01 * untuned.norm()
    counted = adapt.save(LanguageModel(model, loading.load_tokenizer(weights)), folder, manifest)
    loaded = load_tuned(weights, folder, "cpu", p.quantization, merge=False)
    assert (output_of(loaded) - tuned).norm() < 0.1 * changed
    # predict and export decode without the autocast of training
    decoding.greedy(LanguageModel(loaded, loading.load_tokenizer(weights)), [[5, 6, 7]], 2)
    if p.quantization.type == "none":
        assert (output_of(load_tuned(weights, folder, "cpu")) - tuned).norm() < 0.1 * changed
    return counted


@pytest.mark.parametrize("case", CASES)
def test_loaded_adapter_predicts_the_same(case, chosen, trained, weights, manifest, tmp_path):
    check_loaded_adapter(chosen(*CASES[case]), trained, weights, manifest, tmp_path / "adapter")


@pytest.mark.parametrize("case", SEQ2SEQ)
def test_loaded_adapter_of_t5_predicts_the_same(case, chosen, trained, seq2seq, tmp_path):
    check_loaded_adapter(chosen(*CASES[case]), trained, sources.ensure(seq2seq), seq2seq, tmp_path / "adapter")


@pytest.mark.parametrize("case", ["full", "lora nf4"])
def test_loaded_adapter_of_mt5_predicts_the_same(case, chosen, trained, mt5, tmp_path):
    check_loaded_adapter(chosen(*CASES[case]), trained, sources.ensure(mt5), mt5, tmp_path / "adapter")


@pytest.mark.parametrize("case", ["p_tuning", "ia3 nf4", "pissa", "llama_pro", "full adamw_8bit"])
def test_resumed_weights_equal_uninterrupted_ones(case, chosen, trained, weights, tmp_path, monkeypatch):
    import torch
    from transformers import Trainer

    adapter, quantization, changes = CASES[case]
    p = chosen(adapter, quantization, {**changes, "train.max_steps": 4, "train.save_steps": 2, "train.learning_rate": 1e-3})
    whole, _ = trained(p, weights, tmp_path / "whole")
    step = Trainer.training_step

    def killed(self, *arguments, **named):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "training_step", killed)
        trained(p, weights, tmp_path / "killed")
    resumed, run = trained(p, weights, tmp_path / "killed")
    assert run.resumed_at_step == 2
    expected, given = weights_of(whole), weights_of(resumed)
    assert expected.keys() == given.keys()
    assert [name for name, weight in expected.items() if not torch.equal(weight, given[name])] == []


def test_full_disk_while_saving_leaves_the_last_checkpoint(chosen, trained, weights, tmp_path, monkeypatch):
    p = chosen("lora", changes={"train.max_steps": 6, "train.save_steps": 2})
    store, calls = trainer.save_file, []

    def full(tensors, path):
        calls.append(path)
        store(tensors, path)
        if len(calls) == 2:
            Path(path).write_bytes(Path(path).read_bytes()[:100])
            raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(trainer, "save_file", full)
        trained(p, weights, tmp_path / "unfinished")
    _, run = trained(p, weights, tmp_path / "unfinished")
    assert run.resumed_at_step == 2


LAYERS, HIDDEN, KEYS, INNER = 2, 32, 16, 64  # of the tiny model; keys and values have one head of 16
CLOSED_FORM = {
    "prompt_tuning": 5 * HIDDEN,
    "prefix_tuning": 5 * LAYERS * 2 * KEYS,
    "ia3": LAYERS * (KEYS + KEYS + INNER),
}


@pytest.mark.parametrize("adapter", CLOSED_FORM)
def test_trainable_parameters_follow_the_papers_formula(adapter, chosen, weights):
    p = chosen(adapter)
    model = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == CLOSED_FORM[adapter]


def test_llama_pro_starts_as_the_base_and_trains_added_blocks(chosen, weights):
    import torch

    p = chosen("llama_pro", changes={"adapter.blocks": 1})
    base = loading.load_base(weights, "cpu")
    before, block = output_of(base), sum(weight.numel() for weight in base.model.layers[0].parameters())
    model = adapt.attach(base, p.adapter, p.lora, 1)
    assert torch.equal(output_of(model), before)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == block
    model.set_attn_implementation("eager")
    assert {layer.self_attn.config._attn_implementation for layer in model.model.layers} == {"eager"}


def test_adalora_ends_with_its_target_rank_on_average(chosen, trained, weights, manifest, tmp_path):
    p = chosen("adalora", changes={"train.max_steps": 6, "adapter.delta_t": 1, "adapter.init_r": 6, "adapter.target_r": 3})
    model, _ = trained(p, weights)
    adapt.save(LanguageModel(model, loading.load_tokenizer(weights)), tmp_path / "adapter", manifest)
    stored = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert sum(len(weight) for name, weight in stored.items() if "lora_E" in name) == 3 * 7 * LAYERS


def test_missing_module_is_named(options, weights):
    p = options("quantization=none", "lora.target_modules=[nope]")
    with pytest.raises(DataError, match=r"lora.target_modules = \['nope'\]: "):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)


@pytest.mark.parametrize(
    ("adapter", "changes", "line"),
    [
        ("selective", {"adapter.trainable": ["nope.*"]}, r"adapter.trainable: no weight is called nope\.\*"),
        ("llama_pro", {"adapter.blocks": 3}, "adapter.blocks = 3: does not divide the model's 2 blocks"),
        ("ia3", {"adapter.target_modules": ["nope"], "adapter.feedforward_modules": []}, "adapter.target_modules = "),
    ],
)
def test_missing_part_of_the_model_is_named(adapter, changes, line, chosen, weights):
    p = chosen(adapter, changes=changes)
    with pytest.raises(DataError, match=line):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)


@pytest.mark.parametrize(
    ("adapter", "changes", "line"),
    [
        ("llama_pro", {}, "llama_pro: the model has no blocks"),
        ("lora", {"train.packing": True, "train.group_by_length": False}, "train.packing: "),
        ("lora", {"train.prompt_loss_weight": 0.1}, "train.prompt_loss_weight: "),
    ],
)
def test_options_that_t5_cannot_use_are_refused(adapter, changes, line, chosen, trained, seq2seq):
    with pytest.raises(DataError, match=line):
        trained(chosen(adapter, changes=changes), sources.ensure(seq2seq))


@pytest.mark.parametrize(
    ("adapter_type", "quantization", "changes", "steps", "message"),
    [
        (
            "lora",
            "none",
            {"lora.init": "pissa", "lora.r": 40},
            2,
            "lora.r = 40 with lora.init = pissa: .* use lora.r=16 or less",
        ),
        (
            "lora",
            "nf4",
            {"lora.init": "loftq", "lora.r": 40},
            2,
            "lora.r = 40 with lora.init = loftq: .* use lora.r=16 or less",
        ),
        ("lora", "none", {"lora.bias": "all"}, 2, "lora.bias = all: the layers of this model have no biases"),
        ("lora", "none", {"lora.target_modules": ["q_proj", "vproj"]}, 2, "no module is called vproj"),
        ("selective", "none", {"adapter.trainable": ["*.layers.1.*", "*lm_haed*"]}, 2, r"no weight is called \*lm_haed\*"),
        ("adalora", "none", {}, 1, "adapter.tfinal = 0.3 in 1 steps"),
    ],
)
def test_options_without_effect_are_refused(adapter_type, quantization, changes, steps, message, chosen, weights):
    p = chosen(adapter_type, quantization, changes)
    base = loading.load_base(weights, "cpu", p.quantization)
    with pytest.raises(DataError, match=message):
        adapt.attach(base, p.adapter, p.lora, 1, steps=steps)


@pytest.mark.parametrize("named", ["embed_tokens", "lm_head"])
def test_embeddings_and_head_are_not_adapted(chosen, weights, named):
    p = chosen("lora", changes={"lora.target_modules": ["q_proj", named]})
    with pytest.raises(DataError, match=f"lora.target_modules = .*{named} cannot be adapted"):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)
