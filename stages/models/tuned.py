"""Load tuned models: the base with a stored adapter, merged into its weights or separate, or a whole model."""

from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import PreTrainedModel

from stages.errors import DataError
from stages.models.loading import LanguageModel, load_base, loaded, open_base, open_model
from stages.models.manifest import parameters
from stages.models.precision import ready
from stages.models.stored import adapter_config, adapter_of
from stages.params import Quantization, Runtime


def open_tuned(runtime: Runtime, adapter: Path, quantization: Quantization | None = None, merge: bool = True) -> LanguageModel:
    """Return the base that models/base.json pins, with an adapter, ready to answer; see `load_tuned`."""
    return open_model(runtime, lambda folder, device: load_tuned(folder, adapter, device, quantization, merge))


def open_system(runtime: Runtime, system: str) -> LanguageModel:
    """Return the base for a name such as base_3shot, else the model of `tuned_<seed>` or `aligned_<seed>`."""
    return open_base(runtime) if system.startswith("base") else open_tuned(runtime, adapter_of(system))


def load_tuned(
    folder: Path, adapter: Path, device: str, quantization: Quantization | None = None, merge: bool = True
) -> PreTrainedModel:
    """Return the tuned model: the bf16 base with the adapter merged, or the base (quantized if requested) with it separate.

    The sums are rounded to bf16 on every machine, whatever it computes in. A trained prompt has no weights to merge and stays
    separate. LoftQ's adapter compensates for the rounding of a 4-bit base, so in bf16 it is applied to that base's rounded
    weights.
    """
    if not adapter.is_dir():
        raise DataError(f"{adapter}: no such adapter; train one with `dvc repro` first")
    if not (adapter / "adapter_config.json").is_file():  # the whole model is stored
        if not (adapter / "config.json").is_file():
            raise DataError(f"{adapter}: has neither adapter_config.json nor config.json; name a stored adapter or model")
        parameters(adapter)
        return load_base(adapter, device)
    stored = adapter_config(adapter)
    if stored.get("task_type") == "SEQ_CLS":
        raise DataError(f"{adapter}: a reward model, which scores answers and writes none; name an adapter of train or align")
    loftq = stored.get("loftq_config")
    if loftq and (quantization is None or quantization.type == "none"):
        base = loaded(folder, device, Quantization(**loftq)).dequantize()
    else:
        base = loaded(folder, device, quantization)
    tuned = with_adapter(base, adapter)
    if tuned.active_peft_config.peft_type == "ADALORA":  # PEFT recreates its matrices while loading, rounded to bf16
        exact = load_file(adapter / "adapter_model.safetensors", device=device)
        for name, weight in tuned.named_parameters():
            weight.data = exact.get(name.replace(".default", ""), weight.data)
    if merge and not tuned.active_peft_config.is_prompt_learning:
        return ready(tuned.merge_and_unload(), device)
    ready(tuned, device)
    for name, weight in tuned.named_parameters():
        if "ia3_l" in name:  # a factor in fp32 would make the keys of a bf16 base fp32, which attention rejects
            weight.data = weight.data.to(base.dtype)
    for module in tuned.modules():
        if isinstance(module, BaseTunerLayer):
            module.register_forward_hook(_in_input_dtype)
    return tuned.eval()


def _in_input_dtype(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    """Return a layer's output in the dtype of its input.

    On bitsandbytes' layers PEFT's IA³ and AdaLoRA return fp32 unless autocast is on, as in training; the next layer fails.
    """
    return output.to(inputs[0].dtype)


def with_adapter(base: PreTrainedModel, folder: Path, is_trainable: bool = False) -> PeftModel:
    """Return the base with a stored adapter; raise DataError if the adapter is damaged or belongs to another base."""
    config = adapter_config(folder)
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise DataError(f"{folder}: has no adapter_model.safetensors; name a complete copy")
    try:
        with safe_open(weights, framework="np") as tensors:
            stored = set(tensors.keys())
            longest = max((size for name in stored for size in tensors.get_slice(name).get_shape()), default=0)
        ranks = [config.get("r"), config.get("init_r"), *(config.get("rank_pattern") or {}).values()]
        if any(isinstance(rank, int) and rank > longest for rank in ranks):  # PEFT would allocate that many rows
            raise DataError(
                f"{folder}: its adapter_config.json has a rank that none of its weights has; name an undamaged copy"
            )
        model = PeftModel.from_pretrained(base, folder, is_trainable=is_trainable)
    except SafetensorError as error:
        raise DataError(f"{weights}: damaged: {error}") from None
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        message = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]
        raise DataError(f"{folder}: not an adapter for this base model ({message[:200]})") from None
    # PEFT silently drops weights that fit nowhere. (To check for embeddings, it would look for the base on the hub.)
    if not stored <= set(get_peft_model_state_dict(model, save_embedding_layers=False)):
        raise DataError(f"{folder}: holds weights for layers that this base model lacks; it belongs to another base")
    return model
