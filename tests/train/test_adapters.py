"""Every way to adapt a model, on tiny ones: each trains, is stored, loads again, predicts the same; counts, resuming, EWC."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from stages import params
from stages.errors import DataError
from stages.generation import decoding
from stages.models import loading, sources
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned
from stages.params import Params, compose
from stages.records import Document, Example, Message
from stages.train import adapt, arguments, dataset, penalties, run, trainer

pytestmark = pytest.mark.model

SMALL = {"num_virtual_tokens": 5, "encoder_hidden_size": 8}
CASES = {  # adapter, quantization, changes
    "full": ("full", "none", {}),
    "selective": ("selective", "none", {"train.trainable": ["*layers.1.*"]}),
    "pissa": ("lora", "none", {"lora.init": "pissa"}),
    "adalora": ("adalora", "none", {"train.learning_rate": 0.9}),
    "ia3": ("ia3", "none", {"train.learning_rate": 0.9}),
    "prompt_tuning": ("prompt_tuning", "none", {}),
    "prefix_tuning": ("prefix_tuning", "none", {}),
    "prefix_projection": ("prefix_tuning", "none", {"adapter.prefix_projection": True}),
    "p_tuning": ("p_tuning", "none", {}),
    "llama_pro": ("llama_pro", "none", {"adapter.blocks": 2}),
    "full adamw_8bit": (
        "full",
        "none",
        {"train.optim": "adamw_8bit"},
    ),  # of 8 bits is the state of the embedding: 4,096 values up
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
GENERAL = [
    Example(kind="text", messages=(Message(role="user", content=asked), Message(role="assistant", content=told)), source=asked)
    for asked, told in (("Who?", "Me."), ("Why?", "So."))
]
SEQ2SEQ = ["full", "lora nf4", "prompt_tuning", "prefix_tuning", "ia3 nf4", "adalora int8"]


@pytest.fixture(scope="session")
def chosen(options) -> Callable[..., Params]:
    """Parameters with an adapter's and a quantization's file of conf/, and values under dotted keys."""
    committed = compose.composed("experiment=smoke", "runtime.threads=1", "runtime.micro_batch_size=2", "lora.r=4")

    def make(adapter: str, quantization: str = "none", changes: dict | None = None) -> Params:
        values = copy.deepcopy(committed)
        values["adapter"] = params.load(compose.ROOT / "conf/adapter" / f"{adapter}.yaml")
        values["adapter"] |= {key: size for key, size in SMALL.items() if key in values["adapter"]}
        values["quantization"] = params.load(compose.ROOT / "conf/quantization" / f"{quantization}.yaml")
        given = {"train.max_steps": 2, "train.learning_rate": 0.05, "train.warmup_steps": 0, **(changes or {})}
        for key, value in given.items():
            section, name = key.split(".")
            values[section][name] = value
        return params.check(values)

    return make


@pytest.fixture
def trained(chosen, rows, tmp_path):
    """Trains on the shared rows; gives the model and what the run said."""

    def make(p: Params, weights: Path, unfinished: Path = tmp_path / "unfinished", penalty=None, start_from=None):
        tokenizer = loading.load_tokenizer(weights)
        train, valid = (dataset.tokenised(rows[split], tokenizer, 2048) for split in ("train", "valid"))
        if p.train.packing:
            train = dataset.packed(train, tokenizer, 512)
        steps = run.steps(len(train), p.train, p.runtime)
        base = loading.load_base(weights, "cpu", p.quantization, p.train.precision)
        model = adapt.attach(base, p.adapter, p.lora, 1, trainable=p.train.trainable, steps=steps, start_from=start_from)
        penalty = penalty(model, tokenizer) if penalty else None
        result = run.train(model, tokenizer, train, valid, p.train, p.runtime, 1, unfinished, penalty)
        return model.eval(), result

    return make


def said(model) -> "object":
    """What the model says to a fixed text, under the autocast of training."""
    import torch

    ids = torch.arange(3, 60)[None]
    asked = {"decoder_input_ids": ids[:, :9]} if model.config.is_encoder_decoder else {}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return model(input_ids=ids, **asked).logits[:, -9:].float()  # behind a trained prompt


def check_it_trains_and_loads_again(p, trained, weights, manifest, folder) -> dict[str, int]:
    model, run = trained(p, weights)
    assert run.figures["steps"] == 2
    untuned, tuned = said(loading.load_base(weights, "cpu", p.quantization)), said(model)
    changed = (tuned - untuned).norm()
    assert changed > 0.01 * untuned.norm()
    counted = adapt.save(model, loading.load_tokenizer(weights), folder, manifest)
    loaded = load_tuned(weights, folder, "cpu", p.quantization, merge=False)
    assert (said(loaded) - tuned).norm() < 0.1 * changed
    decoding.greedy(
        LanguageModel(loaded, loading.load_tokenizer(weights)), [[5, 6, 7]], 2
    )  # as predict and export do it, without autocast
    if p.quantization.type == "none":
        assert (said(load_tuned(weights, folder, "cpu")) - tuned).norm() < 0.1 * changed
    return counted


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_trains_is_stored_and_predicts_the_same_when_loaded(case, chosen, trained, weights, manifest, tmp_path):
    check_it_trains_and_loads_again(chosen(*CASES[case]), trained, weights, manifest, tmp_path / "adapter")


@pytest.mark.parametrize("case", SEQ2SEQ)
def test_the_same_for_an_encoder_decoder_model(case, chosen, trained, seq2seq, tmp_path):
    check_it_trains_and_loads_again(chosen(*CASES[case]), trained, sources.ensure(seq2seq), seq2seq, tmp_path / "adapter")


@pytest.mark.parametrize("case", ["full", "lora nf4"])
def test_the_same_for_mt5(case, chosen, trained, mt5, tmp_path):
    check_it_trains_and_loads_again(chosen(*CASES[case]), trained, sources.ensure(mt5), mt5, tmp_path / "adapter")


# Counts -------------------------------------------------------------------------------------------------------------------

LAYERS, HIDDEN, KEYS, INNER = 2, 32, 16, 64  # of the tiny model; keys and values have one head of 16
CLOSED_FORM = {
    "prompt_tuning": 5 * HIDDEN,
    "prefix_tuning": 5 * LAYERS * 2 * KEYS,
    "ia3": LAYERS * (KEYS + KEYS + INNER),
}


@pytest.mark.parametrize("adapter", CLOSED_FORM)
def test_trainable_parameters_are_what_the_papers_formula_gives(adapter, chosen, weights):
    p = chosen(adapter)
    model = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == CLOSED_FORM[adapter]


def test_llama_pro_answers_as_the_base_before_training_and_trains_the_added_blocks_alone(chosen, weights):
    import torch

    p = chosen("llama_pro", changes={"adapter.blocks": 1})
    base = loading.load_base(weights, "cpu")
    before, block = said(base), sum(weight.numel() for weight in base.model.layers[0].parameters())
    model = adapt.attach(base, p.adapter, p.lora, 1)
    assert torch.equal(said(model), before)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == block


def test_adalora_ends_with_its_target_rank_on_average(chosen, trained, weights, manifest, tmp_path):
    from safetensors.torch import load_file

    p = chosen("adalora", changes={"train.max_steps": 6, "adapter.delta_t": 1, "adapter.init_r": 6, "adapter.target_r": 3})
    model, _ = trained(p, weights)
    adapt.save(model, loading.load_tokenizer(weights), tmp_path / "adapter", manifest)
    stored = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert sum(len(weight) for name, weight in stored.items() if "lora_E" in name) == 3 * 7 * LAYERS


# Refused ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "changes", "line"),
    [
        ("selective", {"train.trainable": ["nope.*"]}, r"train.trainable: no weight is called nope\.\*"),
        ("llama_pro", {"adapter.blocks": 3}, "adapter.blocks = 3: does not divide the model's 2 blocks"),
        ("ia3", {"adapter.target_modules": ["nope"], "adapter.feedforward_modules": []}, "adapter.target_modules = "),
    ],
)
def test_what_the_model_lacks_is_named(adapter, changes, line, chosen, weights):
    p = chosen(adapter, changes=changes)
    with pytest.raises(DataError, match=line):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1, trainable=p.train.trainable)


@pytest.mark.parametrize(
    ("adapter", "changes", "line"),
    [
        ("llama_pro", {}, "llama_pro: the model has no blocks"),
        ("lora", {"train.packing": True, "train.group_by_length": False}, "train.packing: "),
        ("lora", {"train.prompt_loss_weight": 0.1}, "train.prompt_loss_weight: "),
    ],
)
def test_what_an_encoder_decoder_model_cannot_do_is_refused(adapter, changes, line, chosen, trained, seq2seq):
    with pytest.raises(DataError, match=line):
        trained(chosen(adapter, changes=changes), sources.ensure(seq2seq))


# Options of the run -------------------------------------------------------------------------------------------------------


def weights_of(model) -> dict:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("case", ["p_tuning", "ia3 nf4", "pissa", "llama_pro", "full adamw_8bit"])
def test_a_resumed_run_equals_an_uninterrupted_one_for_every_kind_of_weights(
    case, chosen, trained, weights, tmp_path, monkeypatch
):
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
    assert run.cost["resumed_at_step"] == 2
    expected, given = weights_of(whole), weights_of(resumed)
    assert expected.keys() == given.keys()
    assert [name for name, weight in expected.items() if not torch.equal(weight, given[name])] == []


def test_a_full_disk_while_saving_leaves_the_last_good_checkpoint(chosen, trained, weights, tmp_path, monkeypatch):

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
    assert run.cost["resumed_at_step"] == 2


def test_early_stopping_stops_and_keeps_the_best_checkpoint(chosen, trained, weights, tmp_path):
    import torch
    from safetensors.torch import load_file

    every = {"train.eval_steps": 1, "train.save_steps": 1, "train.max_steps": 30, "train.learning_rate": 0.9}
    model, run = trained(chosen("lora", changes={**every, "train.early_stopping_patience": 2}), weights, tmp_path)
    losses = {entry["step"]: entry["loss"] for entry in run.figures["validation"]}
    best = min(losses, key=losses.__getitem__)
    assert run.figures["steps"] == best + 2 < 30
    stored = load_file(tmp_path / f"checkpoint-{best}" / trainer.TRAINED)
    assert all(torch.equal(weight, stored[name]) for name, weight in weights_of(model).items())


def worker_on(p, model, tokenizer, rows, folder):
    return trainer.DecoderTrainer(
        p.train,
        None,
        model=model,
        args=arguments.arguments(p.train, p.runtime, 1, folder, validate=False),
        train_dataset=rows,
        processing_class=tokenizer,
    )


@pytest.fixture
def exact(chosen, weights):
    """Parameters in fp32 and a model with an adapter that is not zero."""
    import torch

    def make(changes: dict):
        p = chosen("lora", changes={"train.precision": "fp32", "train.group_by_length": False, **changes})
        model = adapt.attach(loading.load_base(weights, "cpu", precision="fp32", attention="eager"), p.adapter, p.lora, 1)
        generator = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.1, generator=generator)
        return p, model

    return make


def test_packed_rows_do_not_see_each_other(exact, tokenizer, rows, tmp_path):
    import torch

    p, model = exact({"train.packing": True})
    apart = dataset.tokenised(rows["train"], tokenizer, 2048)
    together = dataset.packed(apart, tokenizer, 512)
    assert len(together) < len(apart) / 2
    batches = list(worker_on(p, model, tokenizer, together, tmp_path).get_train_dataloader())
    supervised = sum((batch["labels"] != -100).sum() for batch in batches)
    worker = worker_on(p, model, tokenizer, together, tmp_path)
    packed = sum(worker.compute_loss(model, dict(batch), num_items_in_batch=supervised) for batch in batches)
    q, _ = exact({})
    single = worker_on(q, model, tokenizer, apart, tmp_path)
    plain = sum(
        single.compute_loss(model, dict(batch), num_items_in_batch=supervised) for batch in single.get_train_dataloader()
    )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-6)


def test_a_prompt_loss_weight_of_one_is_the_loss_of_the_whole_text(exact, tokenizer, rows, tmp_path):
    import torch

    p, model = exact({"train.prompt_loss_weight": 1.0})
    worker = worker_on(p, model, tokenizer, dataset.tokenised(rows["train"], tokenizer, 2048), tmp_path)
    batch = next(iter(worker.get_train_dataloader()))
    whole = batch["input_ids"].masked_fill(~batch["attention_mask"].bool(), -100)
    model.train()
    own = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=whole).loss * (whole[:, 1:] != -100).sum()
    torch.testing.assert_close(worker.compute_loss(model, dict(batch), num_items_in_batch=1), own, rtol=1e-5, atol=1e-4)


def test_neftune_changes_training_and_leaves_no_noise_behind(chosen, trained, weights, tmp_path):
    import torch

    plain, _ = trained(chosen("lora"), weights, tmp_path / "a")
    noisy, _ = trained(chosen("lora", changes={"train.neftune_noise_alpha": 5.0}), weights, tmp_path / "b")
    assert any(not torch.equal(weight, weights_of(noisy)[name]) for name, weight in weights_of(plain).items())
    noisy.train()
    assert torch.equal(said(noisy), said(noisy))


def test_a_tracker_that_is_unknown_or_not_installed_is_refused_with_what_to_do(chosen, trained, weights, monkeypatch):
    from transformers.integrations import integration_utils

    with pytest.raises(DataError, match=r"train.report_to = nope: unknown; transformers knows none, .*tensorboard"):
        trained(chosen("lora", changes={"train.report_to": "nope"}), weights)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", list)
    with pytest.raises(DataError, match=r"train.report_to = swanlab: not installed; pip install -e '\.\[trackers\]'"):
        trained(chosen("lora", changes={"train.report_to": "swanlab"}), weights)


@pytest.mark.parametrize("tracker", ["tensorboard", "swanlab"])
def test_a_tracker_writes_below_tunetrail_without_a_network(tracker, chosen, trained, weights, tmp_path, monkeypatch):
    pytest.importorskip(tracker)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("TENSORBOARD_LOGGING_DIR", "SWANLAB_LOG_DIR", "SWANLAB_MODE"):  # training sets them, once a process
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with monkeypatch.context() as patch:
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        trained(chosen("lora", changes={"train.report_to": tracker}), weights, tmp_path / "run")
    assert [path for path in (tmp_path / ".tunetrail/logs" / tracker / "run").rglob("*") if path.is_file()]


# Going on, documents, penalties -------------------------------------------------------------------------------------------


def test_an_adapter_goes_on_from_a_stored_one_and_refuses_another_kind(chosen, trained, weights, manifest, adapter):
    import torch

    p = chosen("lora")
    going_on = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1, start_from=adapter)
    assert torch.equal(said(going_on), said(load_tuned(weights, adapter, "cpu", merge=False)))
    assert all("lora_" in name for name in weights_of(going_on))
    q = chosen("ia3")
    with pytest.raises(DataError, match="holds an adapter of type lora, but"):
        adapt.attach(loading.load_base(weights, "cpu"), q.adapter, q.lora, 1, start_from=adapter)
    other = p.lora.model_copy(update={"r": 99, "use_dora": True})
    with pytest.raises(DataError, match=r"that adapter has lora.r=\d+ lora.use_dora=false; set what it has"):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, other, 1, start_from=adapter)


def _without_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _of_no_kind(folder: Path) -> None:
    config = folder / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"LORA"', '"NOPE"'), encoding="utf-8")


def _of_another_depth(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {name.replace(".layers.1.", ".layers.7."): tensor.clone() for name, tensor in tensors.items()}, weights)


def _of_another_width(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.repeat(2, 2) for name, tensor in load_file(weights).items()}, weights)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_weights, "has no adapter_model.safetensors"),
        (_cut_short, "damaged"),
        (_of_no_kind, "is no adapter for this base model"),
        (_of_another_depth, "belongs to another"),
        (_of_another_width, "size mismatch"),
    ],
)
def test_an_adapter_that_is_damaged_or_of_another_base_is_one_line(damage, said, weights, adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    damage(folder)
    with pytest.raises(DataError, match=said):
        load_tuned(weights, folder, "cpu")


@pytest.mark.parametrize(
    ("adapter_type", "quantization", "changes", "steps", "said"),
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
        ("selective", "none", {"train.trainable": ["*.layers.1.*", "*lm_haed*"]}, 2, r"no weight is called \*lm_haed\*"),
        ("adalora", "none", {}, 1, "adapter.tfinal = 0.3 in 1 steps"),
    ],
)
def test_what_would_be_trained_in_vain_is_refused(adapter_type, quantization, changes, steps, said, chosen, weights):
    p = chosen(adapter_type, quantization, changes)
    base = loading.load_base(weights, "cpu", p.quantization)
    with pytest.raises(DataError, match=said):
        adapt.attach(base, p.adapter, p.lora, 1, trainable=p.train.trainable, steps=steps)


@pytest.mark.parametrize("named", ["embed_tokens", "lm_head"])
def test_embeddings_and_head_are_not_adapted(chosen, weights, named):
    p = chosen("lora", changes={"lora.target_modules": ["q_proj", named]})
    with pytest.raises(DataError, match=f"lora.target_modules = .*{named} cannot be adapted"):
        adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)


def test_documents_are_cut_into_pieces_that_are_trained_on_whole(tokenizer):
    texts = [Document(text="abcdefg", kind="document", source="a"), Document(text="xyz", kind="document", source="b")]
    pieces = dataset.documents(texts, tokenizer, 5)
    assert [tokenizer.decode(ids) for ids in pieces["input_ids"]] == ["abcde", "fg<|im_end|>", "xyz<|im_end|>"]
    assert pieces["labels"] == pieces["input_ids"]


def test_an_encoder_decoder_model_is_no_model_for_whole_texts(seq2seq):
    with pytest.raises(DataError, match="continued_pretraining: an encoder-decoder model"):
        dataset.documents([], loading.load_tokenizer(sources.ensure(seq2seq)), 5)


def test_ewc_weighs_the_effective_update_by_the_squared_gradients_of_the_base_weights(exact, weights, tokenizer):
    """Against gradients that autograd gives for the base model itself, one row at a time."""
    import torch

    general = dataset.tokenised(GENERAL, tokenizer, 2048)
    _, model = exact({})
    product = {name: m.get_delta_weight("default") for name, m in model.named_modules() if hasattr(m, "lora_A")}
    for name, weight in model.named_parameters():  # the Fisher information is that of the base: the adapter must be zero
        if "lora_B" in name:
            weight.data.zero_()
    penalty = penalties.ewc(model, general, 3.0, "fp32")
    assert penalty() == 0

    base = loading.load_base(weights, "cpu", precision="fp32", attention="eager").requires_grad_(True)
    expected = 0.0
    for row in general:
        base.zero_grad()
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        (base(ids, labels=labels).loss * (labels != -100).sum()).backward()
        for name, update in product.items():
            gradient = base.get_submodule(name.removeprefix("base_model.model.")).weight.grad
            expected += float((gradient.square() / 2 * update.square()).sum()) * 3.0 / 2
    _, again = exact({})
    for name, weight in model.named_parameters():
        weight.data.copy_(dict(again.named_parameters())[name])
    torch.testing.assert_close(float(penalty()), expected, rtol=1e-4, atol=1e-8)


def test_a_penalty_counts_once_in_a_last_update_of_fewer_rows_too(chosen, trained, weights, tmp_path):
    """Twelve rows make an update of eight and one of four; the penalty is zero in the first."""

    def last_loss(micro: int) -> float:
        changes = {"train.batch_size": 8, "runtime.micro_batch_size": micro, "train.precision": "fp32"}
        _, run = trained(
            chosen("full", changes=changes),
            weights,
            tmp_path / str(micro),
            lambda model, tokenizer: penalties.ewc(model, dataset.tokenised(GENERAL, tokenizer, 2048), 1e4, "fp32"),
        )
        return run.figures["log"][-1]["loss"]

    assert last_loss(2) == pytest.approx(last_loss(8), rel=1e-2)


def test_ewc_keeps_full_tuning_near_the_base(chosen, trained, weights, tmp_path):
    def distance(strength: float) -> float:
        p = chosen("full", changes={"train.learning_rate": 1e-3, "train.max_steps": 4})
        before = {name: weight.float() for name, weight in loading.load_base(weights, "cpu").named_parameters()}
        model, _ = trained(
            p,
            weights,
            tmp_path / str(strength),
            lambda model, tokenizer: penalties.ewc(model, dataset.tokenised(GENERAL, tokenizer, 2048), strength, "bf16"),
        )
        return sum(float((weight - before[name]).square().sum()) for name, weight in model.named_parameters())

    assert distance(1e4) < 0.9 * distance(0.0)
