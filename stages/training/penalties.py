"""Penalties added to the loss: EWC protects the weights that given answers depend on; AdaLoRA's orthogonality."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from stages.errors import DataError
from stages.models.precision import autocast
from stages.text.chat import IGNORE


def ewc(model: PreTrainedModel, protected: Dataset, strength: float, precision: str) -> Callable[[], Tensor]:
    """Return the penalty of elastic weight consolidation: λ/2 · Σ F_i (θ_i - θ*_i)².

    The formula is equation 3 of Kirkpatrick et al. 2017 (arXiv:1612.00796).

    θ* are the weights that training starts from. F is the diagonal of the Fisher information there: the mean over the
    protected rows of the squared gradient of log p(answer | prompt).

    For LoRA θ are the adapted matrices themselves, so that θ - θ* is the effective update alpha/r · B·A, less that of the
    adapter that training starts from. The penalty does not depend on how that product is split, and it works for a 4-bit base.
    F takes as much memory as those matrices in fp32, and so does the update of such an adapter.
    """
    if not len(protected):
        raise DataError("replay.ewc_lambda: the base finished no answer to a general prompt; raise replay.max_new_tokens")
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    weights = {} if layers else {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    starts = {name: weight.detach().clone() for name, weight in weights.items()}
    for name, layer in layers.items():
        if (update := layer.get_delta_weight("default").detach()).any():  # a new adapter has none
            starts[name] = update
    fisher = _fisher(model, layers, weights, protected, precision)

    def penalty() -> Tensor:
        updates = {name: layer.get_delta_weight("default") for name, layer in layers.items()} | weights
        updates = {name: update - starts[name] if name in starts else update for name, update in updates.items()}
        return strength / 2 * sum((fisher[name] * update.square()).sum() for name, update in updates.items())

    return penalty


def orthogonality(model: PreTrainedModel, strength: float) -> Callable[[], Tensor]:
    """Return AdaLoRA's regulariser (Zhang et al. 2023, arXiv:2303.10512, equation 4); PEFT adds it only to its own loss.

    It is the mean of the Frobenius norms of PᵀP - I and QQᵀ - I over all matrices.
    """

    def distance(name: str, weight: Tensor) -> Tensor:
        product = weight @ weight.T if "lora_A" in name else weight.T @ weight
        return torch.norm(product - torch.eye(len(product), device=product.device))

    factors = [(name, weight) for name, weight in model.named_parameters() if "lora_A" in name or "lora_B" in name]
    return lambda: strength * sum(distance(name, weight) for name, weight in factors) / len(factors)


def _fisher(
    model: PreTrainedModel, layers: dict[str, Any], weights: dict[str, Any], rows: Dataset, precision: str
) -> dict[str, Tensor]:
    """Return the mean squared gradient of the rows' log-likelihoods, by name of weight or adapted layer."""
    total: dict[str, Tensor] = {}

    def add(name: str, gradient: Tensor) -> None:
        total[name] = total.get(name, 0) + gradient.square() / len(rows)

    def watch(name: str, _: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Compute the gradient of a frozen, perhaps 4-bit matrix: the gradient of the layer's output times its input."""
        read = inputs[0].detach().flatten(0, -2).float()
        output.register_hook(lambda gradient: add(name, gradient.flatten(0, -2).float().T @ read))

    handles = [layer.register_forward_hook(partial(watch, name)) for name, layer in layers.items()]
    model.eval()
    for row in rows:
        ids, labels = (torch.tensor([row[key]], device=model.device) for key in ("input_ids", "labels"))
        with autocast(model.device.type, precision):
            loss = model(input_ids=ids, labels=labels).loss
        model.zero_grad()
        (loss * (labels != IGNORE).sum()).backward()
        for name, weight in weights.items():
            add(name, weight.grad)
    model.zero_grad()
    for handle in handles:
        handle.remove()
    return total
