"""Choose the rows of a forward pass where runtime.micro_batch_size is auto."""

from datasets import Dataset
from transformers import PreTrainedModel

from stages import device
from stages.models import memory
from stages.params import Alignment, Fit, Runtime, divisor
from stages.training import group, processes

SHARE = 0.8  # of the free memory; the rest is for fragments and for weights that one layer dequantizes
OPTIMIZER = 12  # bytes per trained weight: its gradient and Adam's two moments in fp32


def resolved(runtime: Runtime, options: Fit | Alignment, model: PreTrainedModel, rows: Dataset) -> Runtime:
    """Return the settings with a number as micro_batch_size, and print it if they leave the choice.

    A CPU gets `Runtime.rows`. A GPU gets the largest divisor of the batch whose rows fit, all as long as the longest one.
    Several processes share the batch and use the same number.
    """
    if runtime.micro_batch_size != "auto":
        return runtime
    kind = device.kind(runtime)
    share = options.batch_size // processes.count()
    most = runtime.rows(share) if kind == "cpu" else fitting(options, model, rows, device.free_memory(kind))
    size = group.least(divisor(share, most), runtime)
    print(
        f"runtime.micro_batch_size = auto: {size} of {options.section}.batch_size = {options.batch_size} rows per forward pass"
    )
    return runtime.model_copy(update={"micro_batch_size": size})


def fitting(options: Fit | Alignment, model: PreTrainedModel, rows: Dataset, free: int) -> int:
    """Return how many of the longest rows fit into `free` bytes besides the gradients and the optimizer; at least one."""
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    # The labels of an encoder-decoder model are tokens of their own; a decoder's are aligned with its input.
    columns = ("input_ids", "labels") if model.config.is_encoder_decoder else ("input_ids",)
    longest = sum(max(map(len, rows[column])) for column in columns)
    row = memory.trained(
        model.config,
        longest,
        precision=options.precision,
        checkpointing=options.gradient_checkpointing,
        in_parts=not model.config.is_encoder_decoder,
    )
    return max(1, int((SHARE * free - OPTIMIZER * trained) / row))
