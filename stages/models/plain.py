"""Adapters that only add a product of two matrices to weights of the base: they can be combined, and exchanged on one base."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CHANGES = {
    "modules_to_save": "whole modules besides LoRA",
    "trainable_token_indices": "trained embeddings of tokens",
    "target_parameters": "adapted parameters outside modules",
    "loftq_config": "a rounded base of its own (lora.init=loftq)",
    "lora_bias": "biases",
}


PRUNING = ("ties_svd", "dare_ties_svd")  # they take a mean, of the values that they keep


class Way(NamedTuple):
    """A method of PEFT, the weight of each adapter, the share of values that a pruning method leaves, and DARE's seed."""

    method: str
    weights: Sequence[float]
    density: float | None
    seed: int


def unlike(config: Mapping[str, Any]) -> str:
    """Return what an adapter has besides two matrices per module, "" if nothing."""
    if config.get("peft_type") != "LORA":
        return f"the type {config.get('peft_type')}"
    if config.get("bias", "none") != "none":
        return f"trained biases (bias={config['bias']})"
    return next((what for key, what in CHANGES.items() if config.get(key)), "")


def uncombinable(config: Mapping[str, Any]) -> str:
    """Return why PEFT cannot combine an adapter exactly, "" if it can."""
    scaled = "rsLoRA" if config.get("use_rslora") else "DoRA" if config.get("use_dora") else ""
    targets = config.get("target_modules")
    named = "" if isinstance(targets, list) else f"modules named by an expression ({str(targets)[:40]})"
    return unlike(config) or scaled or named
