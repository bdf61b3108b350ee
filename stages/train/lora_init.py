"""How LoRA begins where it does not begin at zero: LoftQ and PiSSA, and what each needs to be stored so that it loads again.

PEFT's own LoftQ needs a GPU, hence the few lines here; its PiSSA is used as it is.
"""

from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from stages.models import loading


def loftq(model: PeftModel) -> None:
    """LoftQ (Li et al. 2023, arXiv:2310.08659), one step: B·A·alpha/r is the best approximation of rank r of W - Q.

    W is the base as it was fetched, Q its 4-bit weights. The stored adapter belongs to Q and says so (`stored_config`).
    """
    whole = loading.load_base(Path(model.name_or_path), "cpu", precision="fp32")
    for name, module in model.base_model.model.named_modules():
        if not hasattr(module, "lora_A") or not hasattr(module.base_layer.weight, "quant_state"):  # T5 keeps some unrounded
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
    """Keep PiSSA's first A and B: the base has lost their product, so the adapter is stored as the difference to them."""
    first = {name: weight.detach().clone() for name, weight in model.named_parameters() if ".lora_" in name}
    model.first_lora = first


def stored_weights(model: PreTrainedModel | PeftModel) -> dict[str, Any]:
    """For save_pretrained: after PiSSA [A; A0] and [B, -B0], whose product B·A - B0·A0 is what the base as fetched lacks."""
    first = getattr(model, "first_lora", None)
    if not first:
        return {}
    state = model.state_dict()
    for name, before in first.items():
        down = ".lora_A." in name
        state[name] = torch.cat([state[name], before if down else -before], dim=0 if down else 1)
    return {"state_dict": state}


def stored_config(model: PreTrainedModel | PeftModel) -> dict[str, Any]:
    """What adapter_config.json must say beyond PEFT: the doubled rank of PiSSA; the 4-bit base that LoftQ belongs to."""
    if getattr(model, "first_lora", None):
        config = model.active_peft_config
        doubled = config.lora_alpha * (2**0.5 if config.use_rslora else 2)
        return {"init_lora_weights": True, "r": 2 * config.r, "lora_alpha": doubled}
    base = getattr(model, "loftq_base", None)
    return {"loftq_config": base} if base else {}
