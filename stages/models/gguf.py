"""Convert GGUF files to safetensors, which transformers loads in a third of a second."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def dequantize(gguf: Path, folder: Path) -> None:
    """Store the tokenizer of a GGUF file and its weights, in bf16, in a folder."""
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    # Without dequantize=True the weights stay packed and cannot be saved.
    weights = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    weights.save_pretrained(folder)
