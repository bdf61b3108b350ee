"""Continuing from a stored adapter or whole model; those of another base are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import records
from stages.errors import DataError
from stages.models import loading, sources, stored
from stages.models.tuned import load_tuned
from stages.params import compose
from stages.records import Document
from stages.train import adapt
from tests.fixtures.training import logits, output_of, train, training, weights_of

pytestmark = pytest.mark.model


def test_chats_continue_from_an_adapter_of_documents(furnish, weights, tmp_path, monkeypatch):
    """The recipe of docs/guides/adaptation.md, without a hub. DVC deletes models/42 between the two runs."""
    from safetensors.torch import load_file

    asked = []
    monkeypatch.setattr("peft.utils.other.file_exists", lambda *names: asked.append(names))
    data = [
        "data=handbook",
        "synthesis=self_qa",
        "report.headline=token_f1",
        "quantization=none",
        "lora.r=4",
        "train.max_steps=2",
    ]
    root = furnish(tmp_path / "root", *data, "train.objective=continued_pretraining", "train.learning_rate=0.05")
    texts = [Document(text=f"Office {n} opens at {n}. " * 4, kind="document", source=f"{n}.md") for n in range(24)]
    records.write(root / "data/raw/documents.jsonl", texts)
    train(root)
    assert training(root)["rows"] == 23  # every twentieth is for validation
    pretrained = root / "adapters/pretrained"
    shutil.copytree(root / "models/42/adapter", pretrained)
    shutil.rmtree(root / "models/42")
    again = [*data, "train.start_from=adapters/pretrained", "train.learning_rate=1e-4", "runtime.threads=1"]
    compose.compose(["experiment=smoke", *again], root / "params.yaml")
    train(root)
    folder = root / "models/42/adapter"
    before, after = (load_file(path / "adapter_model.safetensors") for path in (pretrained, folder))
    changed = [(after[name] - before[name]).norm() / before[name].norm() for name in before]
    assert min(changed) > 0 and max(changed) < 0.1
    assert asked == []
    assert (logits(load_tuned(weights, folder, "cpu")) - logits(loading.load_base(weights, "cpu"))).abs().max() > 0


@pytest.fixture
def other(weights, tmp_path) -> Callable[..., Path]:
    """Return a function that copies the base model with other values in its config.json."""

    def make(**changes: object) -> Path:
        folder = shutil.copytree(weights, tmp_path / "other")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        return Path(folder)

    return make


def test_whole_model_of_another_base_is_refused(other, weights, seq2seq):
    adapt.check_start(weights, weights)
    with pytest.raises(DataError, match=r"has model_type t5, the base model llama; .* or make it the base with model=path"):
        adapt.check_start(sources.ensure(seq2seq), weights)
    wider = other(hidden_size=96)
    with pytest.raises(DataError, match="other: has hidden_size 96, the base model"):
        adapt.check_start(wider, weights)


@pytest.mark.parametrize("broken", [{"model_type": "none such"}, {"vocab_size": "many"}])
def test_broken_config_is_one_line(other, weights, broken):
    with pytest.raises(DataError, match=r"other: its config\.json does not describe a model \("):
        adapt.check_start(other(**broken), weights)


def test_model_with_added_blocks_is_accepted(other, weights):
    adapt.check_start(other(num_hidden_layers=9), weights)


def test_stage_refuses_a_whole_model_of_another_base(furnish, warm, seq2seq, tmp_path):
    root = furnish(tmp_path / "root", "adapter=full", "quantization=none", f"train.start_from={sources.ensure(seq2seq)}")
    run = warm(root, "-m", "stages.train", "42")
    assert run.returncode == 1 and "has model_type t5" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 9}, r"\d+ tensors are missing, unexpected or misshapen, e\.g\. model\.layers\."),
        ({"num_hidden_layers": 1}, r"\d+ tensors are missing, unexpected or misshapen, e\.g\. model\.layers\."),
        ({"intermediate_size": 999}, r"\d+ tensors are missing, unexpected or misshapen, e\.g\. model\.layers\.0\.mlp"),
        ({"num_attention_heads": 0}, "cannot be loaded as a whole model: "),
        ({"hidden_size": "64"}, "cannot be loaded as a whole model: "),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(other, weights, changes, message):
    """transformers would initialise missing weights at random, or end with a traceback."""
    stored.check_whole(weights, "here")
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        stored.check_whole(other(**changes), "here")


def test_shared_weights_are_not_reported_missing(seq2seq, mt5):
    for manifest in (seq2seq, mt5):
        stored.check_whole(sources.ensure(manifest), "here")


def test_training_continues_only_from_the_same_kind_of_adapter(chosen, trained, weights, manifest, adapter):
    import torch

    p = chosen("lora", changes={"lora.alpha": 32})  # as the stored adapter has it
    continued = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1, start_from=adapter)
    assert torch.equal(output_of(continued), output_of(load_tuned(weights, adapter, "cpu", merge=False)))
    assert all("lora_" in name for name in weights_of(continued))
    q = chosen("ia3")
    with pytest.raises(DataError, match="holds an adapter of type lora, but"):
        adapt.attach(loading.load_base(weights, "cpu"), q.adapter, q.lora, 1, start_from=adapter)
    other = p.lora.model_copy(update={"r": 99, "use_dora": True})
    with pytest.raises(DataError, match=r"that adapter has lora.r=\d+ lora.use_dora=false; set the same values"):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, other, 1, start_from=adapter)
