"""The trained weights of a model apart from it: kept, stored, put back, and used for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

Weights = Mapping[str, Tensor]


def trained(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a copy of the weights that are trained, by name."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def put(model: PreTrainedModel, weights: Weights) -> None:
    """Give the model these weights, in their precision."""
    for name, weight in model.named_parameters():
        if name in weights:
            weight.data = weights[name].to(weight.device).clone()


@contextmanager
def using(model: PreTrainedModel, weights: Weights) -> Iterator[None]:
    """Use these weights in the block, then the model's own again."""
    own = {name: weight.data for name, weight in model.named_parameters() if name in weights}
    put(model, weights)
    try:
        yield
    finally:
        for name, weight in model.named_parameters():
            weight.data = own.get(name, weight.data)


def store(weights: Weights, path: Path) -> None:
    """Write the weights, all or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    save_file({name: weight.contiguous() for name, weight in weights.items()}, part)
    part.replace(path)


def stored(path: Path) -> dict[str, Tensor]:
    return load_file(path)
