"""The numbers in which a model is asked to compute, and those in which this machine computes."""

import torch
from transformers import PreTrainedModel

from stages.device import computed

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}  # by the names of `precision`


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context in which a model computes; in fp32 it changes nothing.

    The trainers here open it themselves: accelerate's would convert the logits, the largest tensor, to fp32.
    """
    used = computed(device, precision)
    return torch.autocast(device.partition(":")[0], DTYPES[used], enabled=used != "fp32")


def ready(model: PreTrainedModel, device: str, precision: str = "bf16") -> PreTrainedModel:
    """Return the model with its weights in the numbers that the device computes in; quantized weights stay as they are."""
    asked, used = DTYPES[precision], DTYPES[computed(device, precision)]
    if used != asked:
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dtype == asked:
                tensor.data = tensor.data.to(used)
        for module in model.modules():
            if getattr(module, "compute_dtype", None) == asked:  # of bitsandbytes' layers
                module.compute_dtype = used
    return model
