"""Choose the weights to train and store them: a PEFT adapter, or the whole model if its own weights change."""

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import peft
import torch
from huggingface_hub.errors import StrictDataclassError
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from stages.errors import DataError
from stages.files import read_json, whole_folder, write_json
from stages.models import pretrained
from stages.models.loading import LanguageModel
from stages.models.manifest import Manifest, parameters
from stages.models.stored import adapter_config
from stages.models.tuned import with_adapter
from stages.params import WHOLE, Adapter, Lora
from stages.training import llama_pro, lora_init


def attach(
    base: PreTrainedModel,
    adapter: Adapter,
    lora: Lora,
    seed: int,
    *,
    steps: int = 1,
    start_from: Path | None = None,
) -> PreTrainedModel | PeftModel:
    """Return the model with the weights to train unfrozen and in fp32, because bf16 would round small updates away.

    `steps` is the length of the run (AdaLoRA's schedule needs it), and `start_from` is a stored adapter of the same type to
    continue training from.
    """
    if adapter.type == "llama_pro":
        return llama_pro.expanded(base, adapter.blocks)
    if adapter.type in WHOLE:
        return _unfrozen(base, adapter.trainable if adapter.type == "selective" else ["*"])
    if start_from:
        return _continued(base, adapter, lora, start_from)
    _check_modules(base, adapter, lora)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = get_peft_model(base, _config(base, adapter, lora, steps), autocast_adapter_dtype=True)
        except ValueError as error:
            section, chosen = ("lora", lora) if adapter.type == "lora" else ("adapter", adapter)
            raise DataError(f"{section}.target_modules = {getattr(chosen, 'target_modules', None)}: {error}") from None
    for name, weight in model.named_parameters():
        if ".ranknum." in name:  # AdaLoRA's divisor: PEFT would train it, but does not store it
            weight.requires_grad_(False)
        elif weight.requires_grad:  # the base's own biases have its precision
            weight.data = weight.data.float()
    if adapter.type != "lora":
        return model
    if lora.bias != "none" and not any(w.requires_grad for name, w in model.named_parameters() if name.endswith(".bias")):
        raise DataError(f"lora.bias = {lora.bias}: the layers of this model have no biases to train; use lora.bias=none")
    if lora.init == "loftq":
        lora_init.loftq(model)
    elif lora.init == "pissa":
        lora_init.remember(model)
    ranks = [module.lora_A["default"].weight.shape[0] for module in model.modules() if hasattr(module, "lora_A")]
    if min(ranks) < lora.r:
        raise DataError(
            f"lora.r = {lora.r} with lora.init = {lora.init}: the smallest matrix has only rank {min(ranks)}; "
            f"use lora.r={min(ranks)} or less"
        )
    return model


def check_start(start: Path, weights: Path) -> None:
    """Raise DataError unless a whole model to continue from has the class, width and vocabulary of the base.

    The report names the base, and its tokenizer is used. The model may have more blocks.
    """
    try:
        started, base = (pretrained.config(folder) for folder in (start, weights))
    except (StrictDataclassError, KeyError, OSError, TypeError, ValueError) as error:
        message = " ".join((str(error) or type(error).__name__).split())
        raise DataError(f"train.start_from = {start}: its config.json does not describe a model ({message[:200]})") from None
    for key in ("model_type", "hidden_size", "vocab_size"):
        theirs, ours = (getattr(config, key, None) for config in (started, base))
        if theirs != ours:
            raise DataError(
                f"train.start_from = {start}: has {key} {theirs}, the base model {ours}; continue from a model trained from "
                "this base, or make it the base with model=path"
            )


def _check_modules(base: PreTrainedModel, adapter: Adapter, lora: Lora) -> None:
    """Raise DataError if a named module is missing, an embedding or the head.

    PEFT silently ignores missing modules if others match. Embeddings and head often share their weights, so an adapter
    merged into one of them would change both.
    """
    section, chosen = ("lora", lora) if adapter.type == "lora" else ("adapter", adapter)
    named = getattr(chosen, "target_modules", None)
    if not isinstance(named, list):
        return
    known = [name for name, _ in base.named_modules()]
    if lost := [part for part in named if not any(name == part or name.endswith(f".{part}") for name in known)]:
        raise DataError(f"{section}.target_modules = {named}: no module is called {' or '.join(map(str, lost))}")
    ends = [module for module in (base.get_input_embeddings(), base.get_output_embeddings()) if module is not None]
    names = {name.rpartition(".")[2] for name, module in base.named_modules() if any(module is end for end in ends)}
    if wrong := sorted(names.intersection(part.rpartition(".")[2] for part in named)):
        raise DataError(
            f"{section}.target_modules = {named}: {', '.join(wrong)} cannot be adapted; leave out embeddings and head"
        )


def _config(base: PreTrainedModel, adapter: Adapter, lora: Lora, steps: int) -> PeftConfig:
    task = {"task_type": "SEQ_2_SEQ_LM" if base.config.is_encoder_decoder else "CAUSAL_LM"}
    options = adapter.model_dump(exclude={"type"})
    match adapter.type:
        case "lora":
            return peft.LoraConfig(
                **task,
                r=lora.r,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                bias=lora.bias,
                target_modules=lora.target_modules,
                use_rslora=lora.use_rslora,
                use_dora=lora.use_dora,
                init_lora_weights="pissa_niter_16" if lora.init == "pissa" else True,  # the 16 iterations of the paper
            )
        case "adalora":
            if steps - int(adapter.tfinal * steps) < 2:
                raise DataError(
                    f"adapter.tfinal = {adapter.tfinal} in {steps} steps: ranks would be fixed before any is evaluated; "
                    "train longer or lower it"
                )
            options |= {"lora_alpha": options.pop("alpha"), "lora_dropout": options.pop("dropout")}
            options |= {"deltaT": options.pop("delta_t"), "total_step": steps}
            options |= {"tinit": int(adapter.tinit * steps), "tfinal": int(adapter.tfinal * steps)}
            return peft.AdaLoraConfig(**task, **options)
        case "ia3":
            return peft.IA3Config(**task, **options)
        case "prompt_tuning":  # for the encoder only: PEFT would otherwise count a decoder's prompt that it never uses
            return peft.PromptTuningConfig(**task, **options, num_transformer_submodules=1)
        case "prefix_tuning":
            return peft.PrefixTuningConfig(**task, **options)
        case "p_tuning":
            return peft.PromptEncoderConfig(**task, **options, num_transformer_submodules=1)
        case _:
            raise DataError(f"adapter.type = {adapter.type}: has no configuration of PEFT in stages/training/adapt.py")


def _unfrozen(base: PreTrainedModel, patterns: list[str]) -> PreTrainedModel:
    """Return the base with only those weights unfrozen whose names match a pattern."""
    names = [name for name, _ in base.named_parameters()]
    if lost := [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]:
        raise DataError(f"adapter.trainable: no weight is called {' or '.join(lost)}; names are like {', '.join(names[1:4])}")
    base.requires_grad_(False)
    for weight in (weight for name, weight in base.named_parameters() if any(fnmatch(name, p) for p in patterns)):
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    return base


def _continued(base: PreTrainedModel, adapter: Adapter, lora: Lora, folder: Path) -> PeftModel:
    if not (folder / "adapter_config.json").is_file():
        raise DataError(
            f"train.start_from = {folder}: has no adapter_config.json; to train an adapter on a whole model, use model=path"
        )
    config = adapter_config(folder)
    stored = str(config.get("peft_type")).lower()
    if stored != adapter.type:
        raise DataError(f"train.start_from = {folder}: holds an adapter of type {stored}, but adapter.type = {adapter.type}")
    if adapter.type == "lora":
        own = {"alpha": "lora_alpha", "dropout": "lora_dropout"}  # PEFT's names where they differ
        held = {key: config.get(own.get(key, key)) for key in ("r", "alpha", "dropout", "bias", "use_dora", "use_rslora")}
        if wrong := [f"lora.{key}={json.dumps(value)}" for key, value in held.items() if value != getattr(lora, key)]:
            raise DataError(f"train.start_from = {folder}: that adapter has {' '.join(wrong)}; set the same values")
    return with_adapter(base, folder, is_trainable=True)


def save(lm: LanguageModel, folder: Path, manifest: Manifest, further: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Write the trained weights to a temporary folder, rename it to `folder`, and return parameter counts and bytes.

    The same weights give the same bytes everywhere: no local path, sorted sets, no README with a date. `further` are JSON files
    of the folder by their names.
    """
    model = lm.model
    with whole_folder(folder) as part:
        # To check for trained embeddings, which do not exist here, PEFT would look for the base on the hub.
        adapter_alone = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
        model.save_pretrained(part, **adapter_alone, **lora_init.stored_weights(model))
        (part / "README.md").unlink(missing_ok=True)
        for name in ("adapter_config.json", "config.json"):
            if (part / name).is_file():
                _make_portable(part / name, manifest.model.name, lora_init.stored_config(model))
        if not (part / "adapter_config.json").is_file():
            lm.tokenizer.save_pretrained(part)
        for name, content in (further or {}).items():
            write_json(part / name, content)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    is_adapter = (folder / "adapter_config.json").is_file()
    return {
        "trainable_parameters": trainable,
        "total_parameters": manifest.parameters + trainable if is_adapter else parameters(folder),
        "adapter_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }


def _make_portable(path: Path, base_name: str, changes: dict[str, Any]) -> None:
    config: dict[str, Any] = read_json(path) | changes
    for key, value in config.items():
        if key in ("base_model_name_or_path", "_name_or_path"):
            config[key] = base_name
        elif key in ("target_modules", "modules_to_save", "feedforward_modules") and isinstance(value, list):
            config[key] = sorted(value)
    write_json(path, dict(sorted(config.items())))
