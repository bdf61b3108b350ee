"""Training on the tiny model: interrupted runs, the loss, what is trained and stored, and a 4-bit base left as it was."""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages import records
from stages.errors import DataError
from stages.models import loading, sources, stored
from stages.models.tuned import load_tuned
from stages.params import compose
from stages.records import Document
from stages.text import chat
from stages.train import adapt, arguments, checkpoints, dataset, trainer

pytestmark = pytest.mark.model

KINDS = {
    "4-bit": ["quantization=nf4", "lora.dropout=0.1", "train.group_by_length=true"],
    "bf16": ["quantization=none", "lora.dropout=0.1", "train.group_by_length=false"],
}
SIX_STEPS = ["train.max_steps=6", "train.save_steps=2", "lora.r=4"]

# Step 5 is done and checkpoint-4 is the newest when the process dies without a chance to clean up.
KILLED_IN_STEP_6 = """
import os, signal, sys
from transformers import Trainer
from stages.train.__main__ import main

step = Trainer.training_step

def last_step(self, *arguments, **named):
    if self.state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments, **named)

Trainer.training_step = last_step
sys.argv = ["train", "42"]
main()
"""


# In step 4 the disk is full for the optimiser's state, which is twice the adapter of 16 kB that is written before it.
FULL_FROM_STEP_4 = """
import resource, sys
from transformers import Trainer
from stages import stage
from stages.train.__main__ import main

step = Trainer.training_step

def limited_step(self, *arguments, **named):
    if self.state.global_step == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))
    return step(self, *arguments, **named)

Trainer.training_step = limited_step
sys.argv = ["train", "42"]
stage.run(main)
"""


# The last step is done, checkpoint and all, when the process dies while it stores the adapter.
KILLED_WHILE_STORING = """
import os, signal, sys
from stages.train import adapt
from stages.train.__main__ import main

adapt.save = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["train", "42"]
main()
"""


@dataclass(frozen=True)
class Runs:
    """Two folders with the same parameters and rows: one trained to the end, one killed on the way."""

    overrides: list[str]
    finished: Path
    killed: Path


def train(root: Path) -> Path:
    """The train room's main in `root`."""
    from stages.train.__main__ import main

    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", "42"])
        main()
    return root


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def runs(request, furnish, python, tmp_path_factory) -> Runs:
    folder, overrides = tmp_path_factory.mktemp("runs"), [*SIX_STEPS, *request.param]
    finished, killed = furnish(folder / "finished", *overrides), furnish(folder / "killed", *overrides)
    died = python(killed, "-c", KILLED_IN_STEP_6)
    assert died.returncode == -signal.SIGKILL, died.stderr
    return Runs(overrides, train(finished), killed)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def training(root: Path) -> dict:
    return json.loads((root / "models/42/training.json").read_text(encoding="utf-8"))


def resumed_at(root: Path) -> int:
    return json.loads((root / "data/cost/train_42.json").read_text(encoding="utf-8"))["resumed_at_step"]


def saved(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob(".tunetrail/checkpoints/*/checkpoint-*"))


# Interrupted and resumed --------------------------------------------------------------------------------------------------


def test_a_killed_run_leaves_checkpoints_and_no_output(runs):
    assert saved(runs.killed) == ["checkpoint-2", "checkpoint-4"]
    assert not (runs.killed / "models/42").exists()


def test_resumed_after_a_kill_equals_uninterrupted(runs, tmp_path):
    root = train(shutil.copytree(runs.killed, tmp_path / "again"))
    assert (resumed_at(root), resumed_at(runs.finished)) == (4, 0)
    assert [entry["step"] for entry in training(root)["log"]] == [1, 2, 3, 4, 5, 6]
    assert [entry["step"] for entry in training(root)["validation"]] == [2, 4, 6]
    assert contents(root / "models") == contents(runs.finished / "models")
    assert saved(root) == saved(runs.finished) == []


EARLY = ["train.max_steps=30", "train.eval_steps=1", "train.save_steps=1", "train.early_stopping_patience=2"]


@pytest.mark.parametrize("end", [["train.learning_rate=0.01"], [*EARLY, "train.learning_rate=0.9"]], ids=["planned", "early"])
def test_a_run_killed_while_its_result_is_stored_makes_no_step_more(furnish, python, tmp_path, end):
    overrides = [*SIX_STEPS, "quantization=none", "train.lr_scheduler_type=constant", "train.warmup_steps=0", *end]
    finished, killed = furnish(tmp_path / "finished", *overrides), furnish(tmp_path / "killed", *overrides)
    died = python(killed, "-c", KILLED_WHILE_STORING)
    assert died.returncode == -signal.SIGKILL, died.stderr
    train(finished)
    train(killed)
    steps = training(finished)["steps"]
    assert resumed_at(killed) == steps
    assert steps < 30 if "train.max_steps=30" in end else steps == 6
    assert contents(killed / "models") == contents(finished / "models")


@pytest.mark.parametrize("rest", [None, '{"epoch": 1.3, "glo'], ids=["missing", "half written"])
def test_a_newest_checkpoint_that_was_cut_short_is_skipped(runs, tmp_path, rest):
    root = shutil.copytree(runs.killed, tmp_path / "again")
    (state,) = root.glob(".tunetrail/checkpoints/*/checkpoint-4/trainer_state.json")
    state.unlink() if rest is None else state.write_text(rest, encoding="utf-8")
    train(root)
    assert resumed_at(root) == 2
    assert contents(root / "models") == contents(runs.finished / "models")


def test_a_disk_that_is_full_for_the_optimisers_state_ends_with_one_line_and_the_next_run_resumes(furnish, python, tmp_path):
    root = furnish(tmp_path / "full", *SIX_STEPS, "quantization=none")
    run = python(root, "-c", FULL_FROM_STEP_4)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr, run.stderr
    line = run.stderr.splitlines()[-1]
    assert line.startswith("error: a checkpoint cannot be stored: ") and ".tunetrail/" in line
    assert not (root / "models/42").exists()
    assert resumed_at(train(root)) == 2


def test_another_learning_rate_starts_anew_and_leaves_the_checkpoint_for_its_own_run(runs, tmp_path):
    root = shutil.copytree(runs.killed, tmp_path / "again")
    compose.compose(
        ["experiment=smoke", "runtime.threads=1", *runs.overrides, "train.learning_rate=5e-4"], root / "params.yaml"
    )
    train(root)
    assert resumed_at(root) == 0
    rates = [entry["learning_rate"] for entry in training(root)["log"]]
    assert rates == pytest.approx([entry["learning_rate"] / 2 for entry in training(runs.finished)["log"]])
    assert saved(root) == ["checkpoint-2", "checkpoint-4"]


def test_whatever_decides_the_result_decides_where_its_checkpoints_lie(options, tmp_path):
    rows, others = tmp_path / "rows", tmp_path / "others"
    rows.write_text("a", encoding="utf-8")
    others.write_text("b", encoding="utf-8")

    def place(*overrides: str, seed: int = 42, file: Path = rows) -> Path:
        p = options(*overrides)
        return checkpoints.folder(seed, p.model_copy(update={"runtime": None}), p.runtime, [file])

    changes = ["train.learning_rate=5e-4", "lora.r=8", "quantization=none", "format.max_length=99", "train.optim=sgd"]
    changes += ["runtime.micro_batch_size=2", "runtime.threads=2"]  # float noise would break resumed = uninterrupted
    places = [place(), place(seed=43), place(file=others), *(place(change) for change in changes)]
    assert len(set(places)) == len(places)
    assert place() == places[0]


# The loss -----------------------------------------------------------------------------------------------------------------


def stirred(model):
    """The model with an adapter that is not zero, so that every adapter weight gets a gradient."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.02, generator=generator)
    return model


def gradients_of(model, loss) -> dict:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning", "prefix_tuning", "ia3"])
def test_the_loss_of_an_adapter_that_is_no_lora_is_the_models_own(kind, options, weights, tokenizer, rows, tmp_path):
    """Trained embeddings before the input move every token: the loss must look for its logits behind them."""
    p = options("quantization=none", "train.precision=fp32", f"adapter={kind}")
    base = loading.load_base(weights, "cpu", precision="fp32", attention="eager")
    worker = trainer.DecoderTrainer(
        p.train,
        None,
        model=(model := stirred(adapt.attach(base, p.adapter, p.lora, seed=1))),
        args=arguments.arguments(p.train, p.runtime, 1, tmp_path, validate=False),
        train_dataset=dataset.tokenised(rows["train"], tokenizer, 2048),
        processing_class=tokenizer,
    )
    for batch in worker.get_train_dataloader():
        own = model(**batch).loss
        assert worker.compute_loss(model, dict(batch)).item() == pytest.approx(own.item(), rel=1e-5)


def test_the_loss_and_its_gradients_are_the_models_own_with_full_labels(options, weights, tokenizer, rows, tmp_path):
    import torch

    p = options("quantization=none", "train.precision=fp32", "lora.r=4")
    base = loading.load_base(weights, "cpu", precision="fp32", attention="eager")
    model = stirred(adapt.attach(base, p.adapter, p.lora, seed=1))
    worker = trainer.DecoderTrainer(
        p.train,
        None,
        model=model,
        args=arguments.arguments(p.train, p.runtime, 1, tmp_path, validate=False),
        train_dataset=dataset.tokenised(rows["train"], tokenizer, 2048),
        processing_class=tokenizer,
    )
    batches = list(worker.get_train_dataloader())
    assert len(batches) == 3
    for batch in batches:
        supervised = (batch["labels"] != -100).sum()
        own = model(**batch).loss
        mine = worker.compute_loss(model, dict(batch))
        torch.testing.assert_close(mine, own, rtol=1e-5, atol=1e-6)
        shared = worker.compute_loss(model, dict(batch), num_items_in_batch=2 * supervised)
        torch.testing.assert_close(shared, own / 2, rtol=1e-5, atol=1e-6)
        expected, given = gradients_of(model, own), gradients_of(model, worker.compute_loss(model, dict(batch)))
        assert len(given) == 2 * 7 * 2  # A and B of seven matrices in two layers
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-6)


def test_two_micro_batches_of_two_equal_a_batch_of_four(furnish, tmp_path):
    """In fp32, to 1e-4 of the loss and a hundredth of the learning rate in every weight after four steps."""
    import torch
    from safetensors.torch import load_file

    common = ["quantization=none", "train.precision=fp32", "train.group_by_length=false", "train.batch_size=4", "lora.r=4"]
    whole = train(furnish(tmp_path / "whole", *common, "runtime.micro_batch_size=4"))
    halves = train(furnish(tmp_path / "halves", *common, "runtime.micro_batch_size=2"))
    losses = [[entry["loss"] for entry in training(root)["log"]] for root in (whole, halves)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    tuned = [load_file(root / "models/42/adapter/adapter_model.safetensors") for root in (whole, halves)]
    torch.testing.assert_close(tuned[0], tuned[1], rtol=0, atol=1e-5)


# What is trained and stored -----------------------------------------------------------------------------------------------

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
    counted = adapt.save(adapt.attach(base, p.adapter, p.lora, 1), tokenizer, tmp_path / "adapter", manifest)
    tuned = SHAPES if modules == "all-linear" else ("q_proj", "v_proj")
    expected = LAYERS * rank * sum(sum(SHAPES[name]) for name in tuned)
    assert counted["trainable_parameters"] == expected
    assert counted["total_parameters"] == manifest.parameters + expected


def test_a_module_that_the_model_lacks_is_named(options, weights):
    p = options("quantization=none", "lora.target_modules=[nope]")
    with pytest.raises(DataError, match=r"lora.target_modules = \['nope'\]: "):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)


def test_the_stored_adapter_says_nothing_of_the_machine(runs, weights):
    stored = contents(runs.finished / "models/42/adapter")
    assert set(stored) == {"adapter_config.json", "adapter_model.safetensors"}
    for place in (runs.finished, weights, os.environ["TUNETRAIL_CACHE"], compose.ROOT):
        assert [name for name, content in stored.items() if str(place).encode() in content] == []
    config = json.loads(stored["adapter_config.json"])
    assert config["base_model_name_or_path"] == "random-tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert {name.rsplit(".", 1)[-1] for name in config["target_modules"]} == set(SHAPES)
    assert list(config) == sorted(config)


def logits(model):
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 200)[None]).logits.float()


def test_merged_agrees_with_base_and_adapter(weights, adapter):
    """In bf16, to a twentieth of what the adapter changes (norms of the differences of logits)."""
    base = logits(loading.load_base(weights, "cpu"))
    merged = logits(load_tuned(weights, adapter, "cpu"))
    beside = logits(load_tuned(weights, adapter, "cpu", merge=False))
    changed = (beside - base).norm()
    assert changed > base.norm() / 4
    assert (merged - beside).norm() < changed / 10


def test_a_stored_adapter_is_loaded_without_asking_the_hub(weights, adapter, monkeypatch):
    asked = []
    monkeypatch.setattr("peft.utils.other.file_exists", lambda *names: asked.append(names))
    load_tuned(weights, adapter, "cpu")
    assert asked == []


def test_a_model_without_its_adapter_is_refused(weights, tmp_path):
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
    assert tuned.dtype == torch.bfloat16
    before = dict(base.named_parameters())
    unchanged = [name for name, weight in tuned.named_parameters() if torch.equal(weight, before[name])]
    assert [name for name in unchanged if "norm" not in name] == []  # a norm's weights are 1, whose bf16 neighbours lie far off
    assert (logits(tuned) - logits(base)).abs().max() > 0


def test_chats_go_on_from_a_copy_of_the_adapter_that_was_trained_on_whole_documents(furnish, weights, tmp_path, monkeypatch):
    """The recipe of docs/guides/adaptation.md, which asks no hub for anything. DVC deletes models/42 between the two runs."""
    from safetensors.torch import load_file

    asked = []
    monkeypatch.setattr("peft.utils.other.file_exists", lambda *names: asked.append(names))
    data = ["data=handbook", "synthesis=self_qa", "quantization=none", "lora.r=4", "train.max_steps=2"]
    root = furnish(tmp_path / "root", *data, "train.objective=continued_pretraining", "train.learning_rate=0.05")
    texts = [Document(text=f"Office {n} opens at {n}. " * 4, kind="document", source=f"{n}.md") for n in range(24)]
    records.write(root / "data/raw/documents.jsonl", texts)
    train(root)
    assert training(root)["rows"] == 23  # every twentieth is kept to validate
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
    """The base model's folder with other values in its config.json."""

    def make(**changes: object) -> Path:
        folder = shutil.copytree(weights, tmp_path / "other")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        return Path(folder)

    return make


def test_a_whole_model_to_go_on_from_is_one_of_the_base_model(other, weights, seq2seq):
    adapt.check_start(weights, weights)
    with pytest.raises(DataError, match=r"has model_type t5, the base model llama; .* or make it the base with model=path"):
        adapt.check_start(sources.ensure(seq2seq), weights)
    wider = other(hidden_size=96)
    with pytest.raises(DataError, match="other: has hidden_size 96, the base model"):
        adapt.check_start(wider, weights)


@pytest.mark.parametrize("broken", [{"model_type": "none such"}, {"vocab_size": "many"}])
def test_a_model_to_go_on_from_with_a_broken_config_is_one_line(other, weights, broken):
    with pytest.raises(DataError, match=r"other: its config\.json is no model's \("):
        adapt.check_start(other(**broken), weights)


def test_blocks_that_were_added_are_gone_on_from(other, weights):
    adapt.check_start(other(num_hidden_layers=9), weights)


def test_the_stage_refuses_a_whole_model_of_another_base(furnish, python, seq2seq, tmp_path):
    root = furnish(tmp_path / "root", "adapter=full", "quantization=none", f"train.start_from={sources.ensure(seq2seq)}")
    run = python(root, "-m", "stages.train", "42")
    assert run.returncode == 1 and "has model_type t5" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": 9}, r"\d+ are missing, too much or of another shape, such as model\.layers\."),
        ({"num_hidden_layers": 1}, r"\d+ are missing, too much or of another shape, such as model\.layers\."),
        ({"intermediate_size": 999}, r"\d+ are missing, too much or of another shape, such as model\.layers\.0\.mlp"),
        ({"num_attention_heads": 0}, "is no whole model: "),
        ({"hidden_size": "64"}, "is no whole model: "),
    ],
)
def test_a_whole_model_whose_weights_do_not_fit_its_config_is_refused(other, weights, changes, said):
    """transformers would draw what is missing at random, or end in a traceback."""
    stored.check_whole(weights, "here")
    with pytest.raises(DataError, match=f"^here: .*{said}"):
        stored.check_whole(other(**changes), "here")


def test_shared_weights_are_not_missed(seq2seq, mt5):
    for manifest in (seq2seq, mt5):
        stored.check_whole(sources.ensure(manifest), "here")


def test_a_piece_of_a_document_has_a_token_that_follows_another(tokenizer):
    """A last piece of one token has none, and alone in a batch its loss would be 0/0."""
    texts = [Document(text="x" * length, kind="document", source="x") for length in (8, 9, 16)]
    rows = dataset.documents(texts, tokenizer, 8)
    assert [len(ids) for ids in rows["input_ids"]] == [8, 8, 2, 8, 8]


# A 4-bit base -------------------------------------------------------------------------------------------------------------


def gradients(model, ids) -> dict[str, "object"]:
    import torch

    model.train()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, labels=ids).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("hidden", [32, 64])
def test_validation_and_saving_leave_the_gradients_of_a_4_bit_base_as_they_were(options, random_model, hidden):
    """bitsandbytes repacks 4-bit weights on a CPU at the first evaluation; the repacked ones pass no gradient on."""
    import torch

    p = options("quantization=nf4", "lora.r=4")
    weights = sources.ensure(sources.fetch(random_model.model_copy(update={"hidden_size": hidden})))
    base = loading.load_base(weights, "cpu", p.quantization, p.train.precision, p.train.attn_implementation)
    model = stirred(adapt.attach(base, p.adapter, p.lora, seed=1))
    ids = torch.arange(3, 40)[None]
    before = gradients(model, ids)
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    validated = gradients(model, ids)
    model.state_dict()
    saved = gradients(model, ids)
    assert before.keys() == validated.keys() == saved.keys()
    for name, gradient in before.items():
        assert gradient.abs().sum() > 0, name
        assert torch.equal(gradient, validated[name]) and torch.equal(gradient, saved[name]), name
