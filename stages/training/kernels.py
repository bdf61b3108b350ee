"""Fewer steps of autograd for training a decoder: LoRA's products, attention, rotary embeddings, norms.

Half of a training step on a CPU goes into casts, copies and small products around the large ones, and on a GPU a step of a
small model is mostly the start of such kernels. Each function here computes what the libraries compute, up to rounding,
in fewer passes over memory. docs/performance.md has what each gains. What a model does differently keeps the libraries'
code.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import bitsandbytes
import torch
from peft.tuners import lora
from torch import Tensor
from torch.autograd import Function
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.llama import modeling_llama

from stages.device import computed, free_memory
from stages.models.precision import DTYPES
from stages.training import padding_free

ADAPTER = "default"  # PEFT's name
ATTENTION = "grouped_eager"
BF16 = torch.bfloat16
# Weights in 4 bits are kept whole too if four times their size fits this share of the free memory: a CPU dequantizes slowly,
# and on a GPU it takes three kernels per weight, which a small model feels.
SHARE = {"cpu": 1.0, "cuda": 0.125}
FUSED = {"cpu": (torch.bfloat16, torch.float32), "cuda": (torch.bfloat16,)}


@contextmanager
def fused(model: PreTrainedModel, precision: str, *, joined: bool = False) -> Iterator[set[str]]:
    """Use these functions in the model while the block runs; yield the names of those that apply.

    `joined` means that the rows of a batch are joined without padding (padding_free.py).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    used: set[str] = set()
    with ExitStack() as stack:
        kind = model.device.type
        dtype = DTYPES[computed(kind, precision)]
        if kind not in SHARE or dtype not in FUSED[kind]:
            yield used
            return
        for layer, weight in _to_fuse(model, dtype):
            change(stack, layer, FusedLora, kept=weight, dtype=dtype)
            used.add("lora")
        if rotary := _usual_rotary(base):
            stack.callback(setattr, rotary, "apply_rotary_pos_emb", rotary.apply_rotary_pos_emb)
            rotary.apply_rotary_pos_emb = rotate
            used.add("rotary")
        if kind == "cuda":
            for norm in _usual_norms(base):
                change(stack, norm, FusedNorm)
                used.add("norm")
        if chosen := padding_free.ATTENTION if joined else ATTENTION if _usual_attention(base) else None:
            stack.callback(base.set_attn_implementation, base.config._attn_implementation)
            base.set_attn_implementation(chosen)
            used.add("attention")
        yield used


def change(stack: ExitStack, module: torch.nn.Module, forward: type, **held: Any) -> None:
    """Let the module compute with the `forward` of another class, which reads `held`, until the stack is closed."""
    kind = type(module)
    stack.callback(setattr, module, "__class__", kind)
    module.__class__ = type(kind.__name__, (forward, kind), {})
    for name, value in held.items():
        setattr(module, name, value)
        stack.callback(delattr, module, name)


def plain_lora(model: PreTrainedModel) -> list[Any]:
    """Return LoRA's linear layers without a variant such as DoRA; the block of `fused` may have changed their classes."""
    return [
        layer
        for layer in model.modules()
        if (type(layer) in (lora.Linear, getattr(lora, "Linear4bit", None)) or isinstance(layer, FusedLora))
        and layer.active_adapters == [ADAPTER]
        and not (layer.merged or layer.disable_adapters or layer.fan_in_fan_out or layer.lora_variant)
        and layer.lora_B[ADAPTER].bias is None
    ]


def _to_fuse(model: PreTrainedModel, dtype: torch.dtype) -> list[tuple[Any, Tensor | None]]:
    """Return plain layers without dropout, each with its frozen weights in `dtype`.

    Weights in 4 bits are dequantized once, not twice per step. If memory is too small for that, a CPU keeps the libraries'
    code, and a GPU gets None in place of the weights: it dequantizes them in each pass.
    """
    layers = [layer for layer in plain_lora(model) if isinstance(layer.lora_dropout[ADAPTER], torch.nn.Identity)]
    packed = sum(layer.in_features * layer.out_features for layer in layers if type(layer) is not lora.Linear)
    kind = model.device.type
    if 4 * dtype.itemsize * packed > SHARE[kind] * free_memory(kind):
        return [(layer, None) for layer in layers] if kind == "cuda" else []
    return [(layer, whole(layer.get_base_layer().weight, dtype)) for layer in layers]


def whole(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return frozen weights as they are computed with, (outputs, inputs); those in 4 bits are dequantized."""
    state = getattr(weight, "quant_state", None)
    full = weight if state is None else bitsandbytes.functional.dequantize_4bit(weight.data, state)
    return full.detach().to(dtype).contiguous()


class FusedLora:
    """LoRA's layer computed as one function in `dtype`; `kept` are its frozen weights in it, or None."""

    def forward(self: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
        (name,) = self.active_adapters  # TRL switches to another one that holds a reference
        down, up, base = self.lora_A[name].weight, self.lora_B[name].weight, self.get_base_layer()
        weight = base.weight if self.kept is None else self.kept
        out: Tensor = LoraProduct.apply(x, weight, down, up, self.scaling[name], self.dtype)
        return out if base.bias is None else out + base.bias.to(out.dtype)


class LoraProduct(Function):
    """x·Wᵀ + s·(x·Aᵀ)·Bᵀ (Hu et al. 2021, arXiv 2106.09685) with W frozen; the second product is added in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scaling: float, dtype: torch.dtype) -> Tensor:
        """`x` (…, inputs), `weight` (outputs, inputs) whole or in 4 bits, `down` A (rank, inputs), `up` B (outputs, rank)."""
        flat, down, up = x.reshape(-1, x.shape[-1]).to(dtype), down.to(dtype), (up * scaling).to(dtype)
        inner = flat @ down.T
        ctx.save_for_backward(flat, inner, weight, down, up)
        ctx.scaling, ctx.dtype = scaling, x.dtype
        return (flat @ whole(weight, dtype).T).addmm_(inner, up.T).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, down, up = ctx.saved_tensors
        rows, dtype = grad.shape[:-1], flat.dtype
        grad = grad.reshape(-1, grad.shape[-1]).to(dtype)
        by_rank = grad @ up
        back = None
        if ctx.needs_input_grad[0]:
            back = (grad @ whole(weight, dtype)).addmm_(by_rank, down).view(*rows, -1).to(ctx.dtype)
        return back, None, (by_rank.T @ flat).float(), (grad.T @ inner).float() * ctx.scaling, None, None


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """Return queries and keys (rows, heads, tokens, width) with rotary embeddings, as transformers' function does."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return Rotary.apply(q, cos, sin), Rotary.apply(k, cos, sin)


class Rotary(Function):
    """Turn each pair (x_i, x_{i + width/2}) by its angle (Su et al. 2021, arXiv 2104.09864); the gradient turns back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def _usual_norms(base: PreTrainedModel) -> list[Any]:
    """Return the frozen norms that compute what Llama's computes, in the same words."""
    llama = _source(modeling_llama.LlamaRMSNorm.forward)
    norms = [module for module in base.modules() if type(module).__name__.endswith("RMSNorm")]
    same = {kind for kind in set(map(type, norms)) if _source(getattr(kind, "forward", None)) == llama}
    return [norm for norm in norms if type(norm) in same and norm.weight.dtype == BF16]


class FusedNorm:
    """RMSNorm as one kernel."""

    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # it would compute in fp32 and return it
            return torch.nn.functional.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.variance_epsilon)


def _usual_rotary(base: PreTrainedModel) -> Any:
    """Return the module of the model's code if it rotates as Llama does, in the same words."""
    module = sys.modules[type(base).__module__]
    names = ("apply_rotary_pos_emb", "rotate_half")
    own, llama = ([_source(getattr(each, name, None)) for name in names] for each in (module, modeling_llama))
    return module if own == llama else None


def _source(function: Callable[..., Any] | None) -> str:
    return inspect.getsource(inspect.unwrap(function)) if function else ""


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
) -> tuple[Tensor, None]:
    """Return attention's output (rows, tokens, heads, width), as transformers' attention functions do."""
    scaling = how.get("scaling") or query.shape[-1] ** -0.5
    if how.get("dropout") or any(how.get(name) is not None for name in padding_free.UNUSUAL):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    return Attention.apply(query, key, value, attention_mask, scaling).transpose(1, 2).contiguous(), None


class Attention(Function):
    """softmax(s·q·kᵀ + mask)·v, where several heads of queries read the same keys without a copy of them for each."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
        """`q` (rows, heads, tokens, width), `k` and `v` (rows, fewer heads, keys, width), `mask` (rows, 1, tokens, keys)."""
        rows, heads, tokens, _ = q.shape
        held, keys = k.shape[1:3]
        ctx.dtypes, dtype = (q.dtype, k.dtype, v.dtype), BF16 if torch.is_autocast_enabled("cpu") else q.dtype
        q, k, v = (each.to(dtype).reshape(rows * held, -1, each.shape[-1]) for each in (q, k, v))
        scores = torch.bmm(q, k.transpose(1, 2)).view(rows, heads, tokens, keys)
        if mask is None:
            scores = scores * scaling
        else:  # the least fp32 would be -inf in bf16, and a row without any visible key NaN
            scores = torch.add(mask.to(dtype).clamp(min=torch.finfo(dtype).min), scores, alpha=scaling)
        weights = scores.softmax(-1).view(rows * held, -1, keys)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scaling, ctx.shape = scaling, (rows, heads, held, tokens, keys)
        return torch.bmm(weights, v).view(rows, heads, tokens, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        rows, heads, held, tokens, keys = ctx.shape
        grad = grad.to(v.dtype).reshape(rows * held, -1, v.shape[-1])
        by_weight = torch.bmm(grad, v.transpose(1, 2))
        by_score = torch._softmax_backward_data(by_weight, weights, -1, weights.dtype).mul_(ctx.scaling)
        back_q = torch.bmm(by_score, k).view(rows, heads, tokens, -1)
        back_k = torch.bmm(by_score.transpose(1, 2), q).view(rows, held, keys, -1)
        back_v = torch.bmm(weights.transpose(1, 2), grad).view(rows, held, keys, -1)
        return (*(back.to(dtype) for back, dtype in zip((back_q, back_k, back_v), ctx.dtypes, strict=True)), None, None)


def _usual_attention(base: PreTrainedModel) -> bool:
    """Return whether the model attends by a plain softmax with a mask, as far as its parameters tell."""
    config = base.config
    unusual = ("attention_dropout", "attn_pdrop", "attn_logit_softcapping", "is_encoder_decoder")
    plain = base._can_set_attn_implementation() and not any(getattr(config, name, None) for name in unusual)
    return base.device.type == "cpu" and config._attn_implementation == "eager" and plain


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
