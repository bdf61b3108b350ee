"""Elastic weight consolidation and penalties in general."""

import pytest

from stages.models import loading
from stages.training import dataset, penalties
from tests.fixtures.training import GENERAL

pytestmark = pytest.mark.model


def test_ewc_weighs_the_update_by_squared_gradients(exact, weights, tokenizer):
    """The expected value comes from autograd on the base model itself, row by row."""
    import torch

    general = dataset.tokenised(GENERAL, tokenizer, 2048)
    _, model = exact({})
    product = {name: m.get_delta_weight("default") for name, m in model.named_modules() if hasattr(m, "lora_A")}
    for name, weight in model.named_parameters():  # the Fisher information is that of the base, so the adapter must be zero
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


def test_ewc_is_anchored_at_the_adapter_that_training_starts_from(exact, tokenizer):
    """Penalty and Fisher information are those of full weights into which the adapter is merged."""
    import torch

    protected = dataset.tokenised(GENERAL, tokenizer, 2048)
    _, model = exact({})
    penalty = penalties.ewc(model, protected, 3.0, "fp32")
    assert penalty() == 0
    _, other = exact({})
    merged = other.merge_and_unload().requires_grad_(True)
    whole = penalties.ewc(merged, protected, 3.0, "fp32")
    for name, layer in [(name, module) for name, module in model.named_modules() if hasattr(module, "lora_A")]:
        before = layer.get_delta_weight("default")
        layer.lora_B["default"].weight.data.add_(0.01)
        weight = merged.get_submodule(name.removeprefix("base_model.model.")).weight
        weight.data.add_((layer.get_delta_weight("default") - before).detach())
    assert float(penalty()) > 0
    torch.testing.assert_close(float(penalty()), float(whole()), rtol=1e-3, atol=1e-8)


def test_penalty_counts_once_in_an_incomplete_last_update(chosen, trained, weights, tmp_path):
    """Twelve rows make an update of eight and one of four; the penalty is zero in the first."""

    def last_loss(micro: int) -> float:
        changes = {"train.batch_size": 8, "runtime.micro_batch_size": micro, "train.precision": "fp32"}
        _, run = trained(
            chosen("full", changes=changes),
            weights,
            tmp_path / str(micro),
            lambda lm: penalties.ewc(lm.model, dataset.tokenised(GENERAL, lm.tokenizer, 2048), 1e4, "fp32"),
        )
        return run.log[-1].loss

    assert last_loss(2) == pytest.approx(last_loss(8), rel=1e-2)


def test_ewc_keeps_full_tuning_near_the_base(chosen, trained, weights, tmp_path):
    def distance(strength: float) -> float:
        p = chosen("full", changes={"train.learning_rate": 1e-3, "train.max_steps": 4})
        before = {name: weight.float() for name, weight in loading.load_base(weights, "cpu").named_parameters()}
        model, _ = trained(
            p,
            weights,
            tmp_path / str(strength),
            lambda lm: penalties.ewc(lm.model, dataset.tokenised(GENERAL, lm.tokenizer, 2048), strength, "bf16"),
        )
        return sum(float((weight - before[name]).square().sum()) for name, weight in model.named_parameters())

    assert distance(1e4) < 0.9 * distance(0.0)
