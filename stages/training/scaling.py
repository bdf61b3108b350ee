"""Scaled gradients in fp16."""

from typing import Any

import torch


class Scaled:
    """Scale the loss in fp16, whose least number is 6e-8, so that small gradients do not become 0.

    An update whose gradients overflow is left out and halves the scale (Micikevicius et al. 2018, arXiv:1710.03740, section
    3.2). The optimizer and the checkpoints of transformers use accelerate's scaler if there is one. Accelerate makes none on a
    CPU.
    """

    args: Any
    accelerator: Any
    options: Any

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        if self.options.precision != "fp16":
            return
        accelerator, scaler = self.accelerator, torch.amp.GradScaler(self.args.device.type)

        def unscale_gradients(optimizer: Any = None) -> None:
            for each in accelerator._optimizers:
                scaler.unscale_(each.optimizer)

        accelerator.scaler, accelerator.unscale_gradients = scaler, unscale_gradients
