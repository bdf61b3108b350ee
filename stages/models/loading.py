"""Load base models: a model, its tokenizer and the ids that end an answer are one value."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from stages import device
from stages.models import pretrained
from stages.models.manifest import Manifest, read_manifest
from stages.models.precision import DTYPES, ready
from stages.models.sources import ensure
from stages.models.tokenizer import load_tokenizer
from stages.params import Quantization, Runtime
from stages.text import chat


@dataclass(frozen=True)
class LanguageModel:
    """A model and the tokenizer it was trained with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @cached_property
    def stop_ids(self) -> list[int]:
        return chat.stop_ids(self.tokenizer)

    @property
    def encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def has_prompt(self) -> bool:
        """Return whether a trained prompt (prompt tuning, prefix tuning, P-tuning) precedes the input."""
        return hasattr(self.model, "peft_config") and self.model.active_peft_config.is_prompt_learning


def open_model(
    runtime: Runtime, load: Callable[[Path, str], PreTrainedModel], manifest: Manifest | None = None
) -> LanguageModel:
    """Prepare this process, check the weights that models/base.json (or `manifest`) pins, and load them with `load`.

    `load` receives the weights' folder and the device. Raise DataError if files are missing or differ.
    """
    device.prepare(runtime)
    folder = ensure(manifest or read_manifest())
    return LanguageModel(load(folder, device.kind(runtime)), load_tokenizer(folder))


def open_base(runtime: Runtime, manifest: Manifest | None = None) -> LanguageModel:
    """Return the untuned model in bf16, ready to answer."""
    return open_model(runtime, load_base, manifest)


def load_base(
    folder: Path, device: str, quantization: Quantization | None = None, precision: str = "bf16", attention: str = "sdpa"
) -> PreTrainedModel:
    """Return the base model on its device, in 4 or 8 bits if `quantization` asks for them, otherwise in `precision`.

    Where the device computes in another precision, the rest of the weights is in that one.
    """
    return ready(loaded(folder, device, quantization, precision, attention), device, precision)


def loaded(
    folder: Path, device: str, quantization: Quantization | None = None, precision: str = "bf16", attention: str = "sdpa"
) -> PreTrainedModel:
    """Return the base model as `load_base` does, but always in `precision`.

    `attention` is the faster one for training if it is `auto`: eager on a CPU, sdpa on a GPU, where padding_free.py replaces it
    if it can.
    """
    if attention == "auto":
        attention = "eager" if device == "cpu" else "sdpa"
    dtype = DTYPES[precision]
    bits = None
    if quantization and quantization.type == "int8":
        bits = BitsAndBytesConfig(load_in_8bit=True)
    elif quantization and quantization.type != "none":
        bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.type,
            bnb_4bit_use_double_quant=quantization.double_quant,
            bnb_4bit_compute_dtype=dtype,
        )
    model: PreTrainedModel = pretrained.model(
        folder, dtype=dtype, quantization_config=bits, attn_implementation=attention, device_map={"": device}
    )
    for module in model.modules():
        # On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights in place at the first evaluation. That loses precision,
        # and no gradient passes through the repacked weights (tests/train/test_quantized.py).
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if head := model.get_output_embeddings():
        head.register_forward_pre_hook(_without_gaps)
    return model.eval()


def _without_gaps(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the head's input in contiguous memory; `logits_to_keep` makes it a slice of longer rows.

    If the head is frozen, as under an adapter, torch multiplies such a slice row by row and copies the weights each time.
    For eight rows that takes 1.2 s instead of 6 ms.
    """
    return tuple(tensor.contiguous() for tensor in inputs)
