"""Base models in memory: a model, its tokenizer and the ids that end an answer as one value."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from stages import provenance
from stages.models.manifest import Manifest, read_manifest
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
        """Whether a trained prompt (prompt tuning, prefix tuning, P-tuning) stands before the input."""
        return hasattr(self.model, "peft_config") and self.model.active_peft_config.is_prompt_learning


def open_model(
    runtime: Runtime, load: Callable[[Path, str], PreTrainedModel], manifest: Manifest | None = None
) -> LanguageModel:
    """Prepare this process, make sure of the weights that models/base.json (or `manifest`) pins, and load them.

    `load` takes the weights' folder and the device. DataError where the files are missing or differ.
    """
    provenance.prepare(runtime)
    folder = ensure(manifest or read_manifest())
    return LanguageModel(load(folder, provenance.device(runtime)), load_tokenizer(folder))


def open_base(runtime: Runtime, manifest: Manifest | None = None) -> LanguageModel:
    """Return the untuned model in bf16, ready to answer."""
    return open_model(runtime, load_base, manifest)


def load_base(
    folder: Path, device: str, quantization: Quantization | None = None, precision: str = "bf16", attention: str = "sdpa"
) -> PreTrainedModel:
    """The base model on its device: 4 or 8 bits where `quantization` says so, else in `precision`."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
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
    seq2seq = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True).is_encoder_decoder
    model = (AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM).from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=bits,
        attn_implementation=attention,
        device_map={"": device},
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    for module in model.modules():
        # On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights in place when first evaluated: lossy, and from then on no
        # gradient passes through them (tests/models/test_train.py).
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if head := model.get_output_embeddings():
        head.register_forward_pre_hook(_without_gaps)
    return model.eval()


def _without_gaps(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What reaches the head, laid out anew: `logits_to_keep` cuts it out of longer rows, and where its weights are frozen, as
    under an adapter, torch would multiply row by row, each with a copy of the weights: 1.2 s instead of 6 ms for eight rows."""
    return tuple(tensor.contiguous() for tensor in inputs)
