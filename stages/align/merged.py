"""Answers of a model in training from merged weights: a layer of LoRA multiplies once for each token, as in the stored model.

A row gets one token at a time, so two more products with small matrices cost a fifth of the time. On two CPU cores, 64 answers
took 31, 36 and 33 s instead of 39, 42 and 50.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from stages import device
from stages.models.precision import DTYPES
from stages.training import kernels


@contextmanager
def merged(model: PreTrainedModel) -> Iterator[int]:
    """Let a model compute with the sums of frozen weights and adapter in the block; yield the number of such layers.

    The sums are rounded to bf16. Weights must not change in the block. Nothing changes for a base in fp32, if the sums take
    more than a quarter of all memory, or for layers such as DoRA's. What is free at the moment must not decide: rounding would
    change with it.
    """
    layers = kernels.plain_lora(model) if model.config.dtype == kernels.BF16 else []
    dtype = DTYPES[device.computed(model.device.type, "bf16")]
    needed = sum(layer.in_features * layer.out_features for layer in layers) * dtype.itemsize
    if 4 * needed > _memory(model.device.type):
        layers = []
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            frozen = kernels.whole(layer.get_base_layer().weight, torch.float32)
            whole = (frozen + layer.get_delta_weight(kernels.ADAPTER).float()).to(kernels.BF16)
            kernels.change(stack, layer, Merged, whole=whole.to(dtype))
        yield len(layers)


def _memory(kind: str) -> int:
    """Return all bytes of the GPU, or of the machine or its container."""
    if kind == "cuda":
        return torch.cuda.mem_get_info()[1]
    try:
        limit = int((device.CGROUP / "memory.max").read_text())
    except (OSError, ValueError):  # no container, or no limit: `max`
        limit = sys.maxsize
    return min(psutil.virtual_memory().total, limit)


class Merged:
    """LoRA's layer computed as one product; `whole` is the sum (outputs, inputs)."""

    def forward(self: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return linear(x.to(self.whole.dtype), self.whole, self.get_base_layer().bias)
