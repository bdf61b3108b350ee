"""Stored adapters and models: parameter counts, portable files, loading again, and damaged files."""

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from stages import device
from stages.errors import DataError
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.models.precision import DTYPES
from stages.models.tuned import load_tuned
from stages.params import compose
from stages.text import chat
from stages.training import adapt
from tests.fixtures.training import contents, logits, train, training

pytestmark = pytest.mark.model

LAYERS = 2
SHAPES = {  # rows and columns of the linear layers of the tiny model
    "q_proj": (32, 32),
    "k_proj": (16, 32),
    "v_proj": (16, 32),
    "o_proj": (32, 32),
    "gate_proj": (64, 32),
    "up_proj": (64, 32),
    "down_proj": (32, 64),
}


@pytest.mark.parametrize("quantization", ["nf4", "none"])
@pytest.mark.parametrize("modules", ["all-linear", "[q_proj,v_proj]"])
@pytest.mark.parametrize("rank", [2, 8])
def test_trainable_parameters_are_r_times_rows_and_columns(
    options, manifest, weights, tokenizer, tmp_path, quantization, modules, rank
):
    p = options(f"quantization={quantization}", f"lora.target_modules={modules}", f"lora.r={rank}")
    base = loading.load_base(weights, "cpu", p.quantization)
    lm = LanguageModel(adapt.attach(base, p.adapter, p.lora, 1), tokenizer)
    counted = adapt.save(lm, tmp_path / "adapter", manifest)
    tuned = SHAPES if modules == "all-linear" else ("q_proj", "v_proj")
    expected = LAYERS * rank * sum(sum(SHAPES[name]) for name in tuned)
    assert counted["trainable_parameters"] == expected
    assert counted["total_parameters"] == manifest.parameters + expected


def test_stored_adapter_holds_nothing_of_the_machine(runs, weights):
    stored = contents(runs.finished / "models/42/adapter")
    assert set(stored) == {"adapter_config.json", "adapter_model.safetensors"}
    for place in (runs.finished, weights, os.environ["TUNETRAIL_CACHE"], compose.ROOT):
        assert [name for name, content in stored.items() if str(place).encode() in content] == []
    config = json.loads(stored["adapter_config.json"])
    assert config["base_model_name_or_path"] == "random-tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert {name.rsplit(".", 1)[-1] for name in config["target_modules"]} == set(SHAPES)
    assert list(config) == sorted(config)


def test_merged_agrees_with_base_and_adapter(weights, adapter):
    """In bf16, to a tenth of the change by the adapter (norms of the differences of logits)."""
    base = logits(loading.load_base(weights, "cpu"))
    merged = logits(load_tuned(weights, adapter, "cpu"))
    separate = logits(load_tuned(weights, adapter, "cpu", merge=False))
    changed = (separate - base).norm()
    assert changed > base.norm() / 4
    assert (merged - separate).norm() < changed / 10


def test_stored_adapter_loads_without_the_hub(weights, adapter, monkeypatch):
    asked = []
    monkeypatch.setattr("peft.utils.other.file_exists", lambda *names: asked.append(names))
    load_tuned(weights, adapter, "cpu")
    assert asked == []


def test_missing_adapter_is_refused(weights, tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path / 'adapter'}: no such adapter; train one"):
        load_tuned(weights, tmp_path / "adapter", "cpu")


def test_full_tuning_trains_every_weight_and_loads_again(furnish, manifest, weights, tokenizer, tmp_path):
    import torch

    root = train(furnish(tmp_path / "full", "adapter=full", "quantization=none"))
    figures, folder = training(root), root / "models/42/adapter"
    assert figures["trainable_parameters"] == figures["total_parameters"] == manifest.parameters
    assert chat.rendering_hash(loading.load_tokenizer(folder)) == chat.rendering_hash(tokenizer)
    stored = contents(folder)
    assert [name for name, content in stored.items() if str(root).encode() in content or str(weights).encode() in content] == []
    base, tuned = loading.load_base(weights, "cpu"), load_tuned(weights, folder, "cpu")
    assert tuned.dtype == DTYPES[device.computed("cpu", "bf16")]
    before = dict(base.named_parameters())
    unchanged = [name for name, weight in tuned.named_parameters() if torch.equal(weight, before[name])]
    assert [name for name in unchanged if "norm" not in name] == []  # a norm's weights are 1, where bf16 is coarse
    assert (logits(tuned) - logits(base)).abs().max() > 0


def _without_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _of_unknown_type(folder: Path) -> None:
    config = folder / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"LORA"', '"NOPE"'), encoding="utf-8")


def _of_vast_rank(folder: Path) -> None:
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"r": 10**6}), encoding="utf-8")


def _of_one_vast_rank(folder: Path) -> None:
    config = folder / "adapter_config.json"
    changed = json.loads(config.read_text(encoding="utf-8")) | {"rank_pattern": {"q_proj": 10**6}}
    config.write_text(json.dumps(changed), encoding="utf-8")


def _of_another_depth(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {name.replace(".layers.1.", ".layers.7."): tensor.clone() for name, tensor in tensors.items()}, weights)


def _of_another_width(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.repeat(2, 2) for name, tensor in load_file(weights).items()}, weights)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_weights, "has no adapter_model.safetensors"),
        (_cut_short, "damaged"),
        (_of_unknown_type, "an adapter of the type 'NOPE'; read are LORA"),
        (_of_vast_rank, "has a rank that none of its weights has"),
        (_of_one_vast_rank, "has a rank that none of its weights has"),
        (_of_another_depth, "belongs to another"),
        (_of_another_width, "size mismatch"),
    ],
)
def test_damaged_or_foreign_adapter_is_one_line(damage, message, weights, adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    damage(folder)
    with pytest.raises(DataError, match=message):
        load_tuned(weights, folder, "cpu")
