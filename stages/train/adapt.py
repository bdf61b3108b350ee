"""Which weights are trained, and how they are stored: an adapter from PEFT, or with full tuning the whole model."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.models import Manifest
from stages.params import Adapter, Lora
from stages.records import DataError, write_json

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def attach(base: "PreTrainedModel", adapter: Adapter, lora: Lora, seed: int) -> "PreTrainedModel | PeftModel":
    """The model with the weights to train unfrozen, in fp32: bf16 would round small updates away."""
    import torch

    if adapter.type == "full":
        return base.float().requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=lora.target_modules,
        use_rslora=lora.use_rslora,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return get_peft_model(base, config, autocast_adapter_dtype=True)
        except ValueError as error:
            raise DataError(f"lora.target_modules = {lora.target_modules}: {error}") from None


def save(
    model: "PreTrainedModel | PeftModel", tokenizer: "PreTrainedTokenizerBase", folder: Path, manifest: Manifest
) -> dict[str, int]:
    """Write the trained weights beside, then rename; returns parameter counts and bytes.

    The same weights give the same bytes everywhere: no path of this machine, sets sorted, no README with a date.
    """
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        model.save_pretrained(beside)
        (beside / "README.md").unlink(missing_ok=True)
        for name in ("adapter_config.json", "config.json"):
            if (beside / name).is_file():
                _make_portable(beside / name, manifest.model.name)
        if not (beside / "adapter_config.json").is_file():
            tokenizer.save_pretrained(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    extra = trainable if (folder / "adapter_config.json").is_file() else 0
    return {
        "trainable_parameters": trainable,
        "total_parameters": manifest.parameters + extra,
        "adapter_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }


def _make_portable(path: Path, base_name: str) -> None:
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key, value in config.items():
        if key in ("base_model_name_or_path", "_name_or_path"):
            config[key] = base_name
        elif key in ("target_modules", "modules_to_save") and isinstance(value, list):
            config[key] = sorted(value)
    write_json(path, dict(sorted(config.items())))
