"""Initialise LoRA by LoftQ or PiSSA, and store what each needs to load again.

PEFT's own LoftQ needs a GPU, so it is implemented here; PEFT's PiSSA is used unchanged.
"""

from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from stages.models import loading


def loftq(model: PeftModel) -> None:
    """Apply one step of LoftQ (Li et al. 2023, arXiv:2310.08659): B·A·alpha/r is the best rank-r approximation of W - Q.

    W are the fetched weights of the base, Q its 4-bit weights. The stored adapter records that it belongs to Q
    (`stored_config`).
    """
    whole = loading.load_base(Path(model.name_or_path), "cpu", precision="fp32")
    for name, module in model.base_model.model.named_modules():
        if not hasattr(module, "lora_A") or not hasattr(module.base_layer.weight, "quant_state"):  # T5 leaves some unquantized
            continue
        four_bit = module.base_layer.weight
        rounded = bnb.functional.dequantize_4bit(four_bit.data, four_bit.quant_state).float()
        u, s, v = torch.linalg.svd(whole.get_submodule(name).weight.to(rounded.device) - rounded, full_matrices=False)
        rank, scale = module.r["default"], module.scaling["default"]
        root = (s[:rank] / scale).sqrt()
        module.lora_A["default"].weight.data = root[:, None] * v[:rank]
        module.lora_B["default"].weight.data = u[:, :rank] * root
    bits = model.config.quantization_config
    model.loftq_base = {"type": bits.bnb_4bit_quant_type, "double_quant": bits.bnb_4bit_use_double_quant}


def remember(model: PeftModel) -> None:
    """Keep PiSSA's initial A and B: their product was subtracted from the base, so the difference to them is stored."""
    first = {name: weight.detach().clone() for name, weight in model.named_parameters() if ".lora_" in name}
    model.first_lora = first


def stored_weights(model: PreTrainedModel | PeftModel) -> dict[str, Any]:
    """Return arguments of save_pretrained: after PiSSA [A; A0] and [B, -B0], whose product is the update B·A - B0·A0."""
    first = getattr(model, "first_lora", None)
    if not first:
        return {}
    state = model.state_dict()
    for name, before in first.items():
        down = ".lora_A." in name
        state[name] = torch.cat([state[name], before if down else -before], dim=0 if down else 1)
    return {"state_dict": state}


def stored_config(model: PreTrainedModel | PeftModel) -> dict[str, Any]:
    """Return changes to adapter_config.json: the doubled rank of PiSSA, or the 4-bit base that LoftQ's adapter belongs to."""
    if getattr(model, "first_lora", None):
        config = model.active_peft_config
        doubled = config.lora_alpha * (2**0.5 if config.use_rslora else 2)
        return {"init_lora_weights": True, "r": 2 * config.r, "lora_alpha": doubled}
    base = getattr(model, "loftq_base", None)
    return {"loftq_config": base} if base else {}
