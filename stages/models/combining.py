"""Combine LoRA adapters of one base into a new one, by PEFT's `add_weighted_adapter`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from stages.errors import DataError
from stages.models.plain import Way
from stages.models.tuned import with_adapter


def combined(base: PreTrainedModel, folders: Sequence[Path], way: Way) -> PeftModel:
    """Return the base with one adapter, the combination of those in the folders; raise DataError if one is damaged.

    `cat` puts the matrices next to each other, which is exact; the ranks add up. The other methods approximate the result by
    the largest rank.
    """
    with torch.random.fork_rng(devices=[]):  # new matrices and DARE draw from torch's own generator
        for folder in folders:
            with_adapter(base, folder).unload()  # PEFT itself would silently drop weights that fit nowhere
        names = [f"adapter_{number}" for number in range(len(folders))]
        model = PeftModel.from_pretrained(base, folders[0], adapter_name=names[0])
        for name, folder in zip(names[1:], folders[1:], strict=True):
            model.load_adapter(folder, adapter_name=name)
        torch.manual_seed(way.seed)
        model.add_weighted_adapter(
            names, list(way.weights), "default", way.method, density=way.density, svd_full_matrices=False
        )
    model.set_adapter("default")
    if not all(weight.isfinite().all() for name, weight in model.named_parameters() if ".default." in name):
        raise DataError("--weights: the combined adapter would hold infinite numbers; give smaller weights")
    for name in names:
        model.delete_adapter(name)
    return model
