"""Continuing from a stored adapter or whole model; those of another base are refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from stages import files, records
from stages.errors import DataError
from stages.models import loading, sources, stored
from stages.models.tuned import load_tuned
from stages.records import Document
from stages.training import adapt
from tests.fixtures.training import contents, logits, output_of, saved, train, weights_of

pytestmark = pytest.mark.model


DOCUMENTS = ["data=handbook", "synthesis=self_qa", "report.headline=token_f1", "quantization=none", "lora.r=4"]
DOCUMENTS += ["train.max_steps=2", "train.learning_rate=1e-4"]
PRETRAIN = ["pretrain=documents", "pretrain.max_steps=2", "pretrain.batch_size=4", "pretrain.learning_rate=0.05"]


def with_documents(root: Path) -> Path:
    texts = [Document(text=f"Office {n} opens at {n}. " * 4, kind="document", source=f"{n}.md") for n in range(24)]
    records.write(root / "data/raw/documents.jsonl", texts)
    return root


def change(before: Path, after: Path) -> list[float]:
    """Return how far each tensor of an adapter is from that of another, relative to its norm."""
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (before, after))
    return [float((new[name] - old[name]).norm() / old[name].norm()) for name in old]


def test_chats_continue_from_documents_without_a_hub(furnish, weights, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("peft.utils.other.file_exists", lambda *names: asked.append(names))
    root = train(with_documents(furnish(tmp_path / "root", *DOCUMENTS, *PRETRAIN)), "pretrain")
    figures, cost = (files.read_json(root / place) for place in ("data/pretraining/42.json", "data/cost/pretrain_42.json"))
    assert (figures["rows"], figures["steps"]) == (23, 2)  # every twentieth is for validation
    assert cost["micro_batch_size"] == 4 and saved(root) == []
    pretrained, adapter = root / "models/42/pretrained", root / "models/42/adapter"
    train(root)
    assert min(change(pretrained, adapter)) > 0 and max(change(pretrained, adapter)) < 0.1
    assert asked == []
    assert (logits(load_tuned(weights, adapter, "cpu")) - logits(loading.load_base(weights, "cpu"))).abs().max() > 0

    again = furnish(tmp_path / "again", *DOCUMENTS, "train.start_from=adapters/mine")  # as `tunetrail keep mine` stores it
    shutil.copytree(pretrained, again / "adapters/mine")
    train(again)
    assert contents(again / "models/42/adapter") == contents(adapter)


def test_whole_model_continues_from_documents(furnish, manifest, tmp_path):
    full = ["adapter=full", "quantization=none", "train.learning_rate=1e-4", "pretrain.learning_rate=1e-3"]
    root = with_documents(furnish(tmp_path / "root", *DOCUMENTS, *PRETRAIN, *full))
    train(train(root, "pretrain"))
    base, pretrained, tuned = (
        load_file(folder / "model.safetensors")
        for folder in (sources.ensure(manifest), root / "models/42/pretrained", root / "models/42/adapter")
    )
    near, far = (sum(float((start[name] - tuned[name]).norm()) for name in tuned) for start in (pretrained, base))
    assert 0 < near < 0.5 * far


def test_pretrain_is_empty_and_quick_unless_asked_for(furnish, python, tmp_path):
    root = furnish(tmp_path / "root")
    run = python(root, "-X", "importtime", "-m", "stages.pretrain", "42")
    assert run.returncode == 0 and not re.search(r"\| +(torch|transformers)$", run.stderr, re.MULTILINE)
    assert list((root / "models/42/pretrained").iterdir()) == []
    assert [files.read_json(root / place) for place in ("data/pretraining/42.json", "data/cost/pretrain_42.json")] == [{}, {}]


def test_pretrain_without_documents_is_one_line(furnish, tmp_path):
    with pytest.raises(DataError, match=r"^data/raw/documents\.jsonl: empty, but pretrain\.type = documents"):
        train(furnish(tmp_path / "root", *DOCUMENTS, *PRETRAIN), "pretrain")


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
