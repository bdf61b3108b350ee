"""What TRL's trainers of alignment share here: precision, logits of answers alone, kernels, checkpoints, no second data format.

TRL rounds the adapter of a 4-bit base to bf16. At the small rates of alignment most updates would then be rounded away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from stages.align import weights
from stages.models.precision import autocast
from stages.params import Alignment, Runtime
from stages.text.chat import IGNORE
from stages.training import kernels, trainer
from stages.training.run import own_casts

PER_TOKEN = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


class Aligning(trainer.TrainedWeights):
    """The first base of a trainer; the second is TRL's. Rows are tokenised already, with what the reference says of them."""

    temperature = 1.0  # GRPO has its own

    def __init__(self, options: Alignment, runtime: Runtime, model: PreTrainedModel, **how: Any) -> None:
        self.options, self.runtime = options, runtime
        exact = weights.trained(model)
        super().__init__(model=model, **how)  # type: ignore[call-arg]
        weights.put(model, exact)

    def train(self, *args, **how):  # type: ignore[no-untyped-def]
        with opened(self.model, self.options.precision, self.temperature):
            return super().train(*args, **how)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a checkpoint needs no card, and TRL's has a date."""

    def _prepare_dataset(self, dataset, *_):  # type: ignore[no-untyped-def]
        return dataset

    def _precompute_ref_logps(self, dataset, *_):  # type: ignore[no-untyped-def]
        return dataset


@contextmanager
def opened(model: PreTrainedModel, precision: str, temperature: float = 1.0) -> Iterator[None]:
    """Let the model compute under autocast, with the kernels of training, in the block.

    On a CPU, where TRL's fused head reads every position, it reads only those before answer tokens.
    """
    base = model.get_base_model()
    before = base.__dict__.get("forward")
    base.forward = _forward(base, precision, temperature)
    try:
        with kernels.fused(model, precision), own_casts(model):
            yield
    finally:
        if before is None:
            del base.forward  # hides the method of the class
        else:
            base.forward = before


def drop_reference(model: PreTrainedModel) -> None:
    """Remove TRL's frozen copy of the adapter; the reference is in the rows."""
    if "ref" in model.peft_config:
        model.delete_adapter("ref")


def release(model: PreTrainedModel) -> None:
    """Remove what a trainer has added to a model: a fused head, and a copy of the adapter as reference."""
    model.get_base_model().__dict__.pop("forward", None)
    drop_reference(model)


def _forward(base: PreTrainedModel, precision: str, temperature: float) -> Any:
    stock = base.forward

    @wraps(stock)
    def forward(*args: Any, **inputs: Any) -> Any:
        with autocast(base.device.type, precision):
            if not inputs.get("fused_lm_head") or base.device.type != "cpu":
                return stock(*args, **inputs)
            labels = inputs.pop("labels")
            wanted = labels != IGNORE
            wanted[:, 0] = False  # no token is before it
            own = {name: value for name, value in inputs.items() if name not in ("fused_lm_head", "use_cache")}
            # TRL passes none; padding on the left, as GRPO has it, would shift the positions that answers were sampled at.
            own.setdefault("position_ids", (own["attention_mask"].cumsum(1) - 1).clamp(min=0))
            filled = _filled(own["attention_mask"])
            own = {name: value[:, filled] if name in PER_TOKEN else value for name, value in own.items()}
            head = base.get_output_embeddings()
            logits = trainer.before(wanted[:, filled], stock, head, **own).float() / temperature
        return _measured(logits, labels, wanted)

    return forward


def _filled(attended: Tensor) -> slice:
    """Return the columns of (rows, tokens) in which any row has a token: TRL pads a micro-batch as widely as the batch."""
    columns = attended.any(dim=0).nonzero()
    return slice(int(columns[0]), int(columns[-1]) + 1)


def _measured(logits: Tensor, labels: Tensor, wanted: Tensor) -> FusedCausalLMOutput:
    """Return what TRL's fused head does: numbers per token, zero without a label."""

    def laid(values: Tensor) -> Tensor:
        return values.new_zeros(wanted.shape).masked_scatter(wanted, values)[:, 1:]

    tokens = labels[wanted][:, None]
    likely = logits.log_softmax(-1)
    with torch.no_grad():
        entropy = -(likely.exp() * likely).sum(-1)
        best = logits.argmax(-1, keepdim=True) == tokens
    return FusedCausalLMOutput(
        log_probs=laid(likely.gather(1, tokens).squeeze(1)),
        entropy=laid(entropy),
        mean_logits=laid(logits.detach().mean(-1)),
        is_top1=laid(best.squeeze(1)),
    )
