"""Hold one base in memory and exchange the adapter that is merged into it.

Before an adapter is merged, the weights that it changes are copied once; to exchange it, they are copied back. So each adapter
answers exactly as if it had been loaded alone, and memory does not grow with the number of adapters.
"""

from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from stages.models.loading import LanguageModel
from stages.models.tuned import with_adapter


class Exchange:
    """A base whose merged adapter can be exchanged; `lm` always answers with the one that `use` named last."""

    def __init__(self, base: LanguageModel) -> None:
        self.lm = base
        self._original: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._merged: Path | None = None

    def use(self, adapter: Path | None) -> LanguageModel:
        """Return the base with this plain adapter of LoRA (stages/models/plain.py), or without any.

        Raise DataError if the adapter is damaged or belongs to another base; the base cannot be used after that.
        """
        if adapter == self._merged:
            return self.lm
        for weight, value in self._original.items():
            weight.data.copy_(value)
        if adapter:
            tuned = with_adapter(self.lm.model, adapter)
            for layer in (module for module in tuned.modules() if isinstance(module, BaseTunerLayer)):
                for weight in layer.get_base_layer().parameters():
                    if weight not in self._original:
                        self._original[weight] = weight.detach().clone()
                    weight.data = weight.data.to(torch.bfloat16)  # exact; sums are rounded as load_tuned rounds them
            tuned.merge_and_unload()
            for weight, value in self._original.items():
                weight.data = weight.data.to(value.dtype)
        self._merged = adapter
        return self.lm
