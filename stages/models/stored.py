"""Check a folder with a tuned model: an adapter, or a whole model whose weights fit its config.json."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.errors import DataError

DEEPEST = 100  # levels of a configuration; libraries copy it recursively
# Keys of an adapter whose texts PEFT matches with the names of all modules, as regular expressions: target_modules,
# modules_to_save, target_parameters, rank_pattern, and those of its other methods.
MATCHED = re.compile(r".*_(?:modules|parameters|patterns?|to_save)")
# Methods of PEFT that train uses, and the keys of their configurations that are read. Others name files, tokenizers or further
# adapters to open, or change the layers of the base.
METHODS = ("LORA", "ADALORA", "IA3", "PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING")
READ = re.compile(
    r"""
      peft_(?:type|version) | task_type | auto_mapping | base_model_name_or_path | revision | inference_mode
    | r | (?:target|exclude)_modules | modules_to_save | target_parameters | lora_(?:alpha|dropout|bias) | bias | fan_in_fan_out
    | use_(?:rslora|dora) | init_(?:lora|ia3)_weights | layers_to_transform | layers_pattern | (?:rank|alpha)_pattern
    | loftq_config | trainable_token_indices | ensure_weight_tying | megatron_core | qalora_group_size
    | (?:init|target)_r | tinit | tfinal | deltaT | beta[12] | orth_reg_weight | total_step | feedforward_modules
    | num_(?:virtual_tokens|transformer_submodules|attention_heads|layers) | token_dim | prompt_tuning_init | init_weights
    | prefix_projection | encoder_(?:reparameterization_type|hidden_size|num_layers|dropout)
    """,
    re.VERBOSE,
)
INITIAL = re.compile(r"[a-z_]{1,20}(?:_niter_\d{1,2})?")  # PiSSA's iterations; many would never end
NAME = re.compile(r"[\w.\\^$-]*(?:\.\*[\w.\\^$-]*){0,2}")  # a name, also with up to two `.*`: nothing that takes long


def is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()


def check_whole(folder: Path, where: str) -> None:
    """Raise DataError, which begins with `where`, unless the weights fit config.json.

    transformers itself would initialise missing tensors at random and ignore unexpected ones.
    """
    from transformers.utils import logging

    from stages.models import pretrained

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # hides a table of missing tensors, which the error below names
    try:
        _, found = pretrained.model(folder, dtype="auto", ignore_mismatched_sizes=True, output_loading_info=True)
    except DataError:
        raise
    except Exception as error:  # a wrong config.json can make a model's class raise anything
        message = " ".join((str(error) or type(error).__name__).split())
        raise DataError(f"{where}: cannot be loaded as a whole model: {message[:200]}") from None
    finally:
        logging.set_verbosity(verbosity)
    wrong = sorted([*found["missing_keys"], *found["unexpected_keys"], *(key for key, *_ in found["mismatched_keys"])])
    if wrong:
        raise DataError(
            f"{where}: its weights do not fit its config.json: {len(wrong)} tensors are missing, unexpected or misshapen, "
            f"e.g. {wrong[0]}; save the model again or name another"
        )


def check_folder(folder: Path) -> None:
    """Raise DataError if a configuration names code to run, or an index names weights that are not safetensors next to it.

    transformers may read another configuration than config.json, e.g. config.4.0.0.json, if that one names it.
    """
    for path in sorted(folder.glob("*config*.json")):
        found = _parsed(path)
        for key, value in ((key, value) for part in _objects(path, found) for key, value in part.items()):
            if path.name == "tokenizer_config.json" and key in ("vocab", "merges") and isinstance(value, str):
                raise DataError(
                    f"{path}: {key!r} names the file {value[:80]!r}; only the files of a tokenizer next to it are read"
                )
            if (value and key == "auto_map") or (key.endswith("_implementation") and "/" in str(value)):  # a kernel of the hub
                raise DataError(f"{path}: {key!r} names code, which is never run; remove the key or use another model")
        for name in map(str, named if isinstance(named := found.get("configuration_files"), list) else ()):
            if Path(name).name != name:
                raise DataError(f"{path}: names the configuration {name[:80]!r}; only files in the same folder are read")
    for path in sorted(folder.glob("*.index.json")):
        shards = _parsed(path).get("weight_map")
        for name in map(str, shards.values() if isinstance(shards, dict) else ()):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise DataError(f"{path}: names the weights {name[:80]!r}; only *.safetensors in the same folder are read")


def refuse_adapter(folder: Path) -> None:
    """Raise DataError if a model's folder holds an adapter too: transformers would load both, without a check or a word."""
    if (folder / "adapter_config.json").exists():
        raise DataError(f"{folder}: holds an adapter next to a model; move the adapter out, or merge it and save the model")


def _parsed(path: Path) -> dict[str, Any]:
    """Return the object in a file, or an empty one: what is not JSON, no library reads either."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return {}
    except RecursionError:
        raise _too_deep(path) from None
    return found if isinstance(found, dict) else {}


def _too_deep(path: Path) -> DataError:
    return DataError(f"{path}: more than {DEEPEST} lists or objects in each other; use another model")


def _objects(path: Path, value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a value, itself included; raise DataError if libraries could not copy it."""
    level = [value]
    for _ in range(DEEPEST):
        yield from (part for part in level if isinstance(part, dict))
        level = [
            child
            for part in level
            if isinstance(part, dict | list)
            for child in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return
    raise _too_deep(path)


def adapter_of(system: str | int) -> Path:
    """Return the folder of a system's weights: train's for `tuned_<seed>` or a seed alone, align's for `aligned_<seed>`."""
    kind, _, seed = str(system).rpartition("_")
    return Path("models", seed, "aligned" if kind == "aligned" else "adapter")


def pretrained_of(seed: int) -> Path:
    """Return the folder of what `pretrain` stored for this seed; it is empty if that was not asked for."""
    return Path("models", str(seed), "pretrained")


def holds(folder: Path) -> bool:
    """Return whether a folder holds an adapter or a whole model."""
    return any((folder / name).is_file() for name in ("adapter_config.json", "config.json"))


def start_of(named: Path | None, seed: int) -> Path | None:
    """Return what `train` starts from: the folder that is named, else what `pretrain` stored; None for the base."""
    pretrained = pretrained_of(seed)
    return named or (pretrained if holds(pretrained) else None)


def adapter_config(folder: Path) -> dict[str, Any]:
    """Return the adapter_config.json of a stored adapter.

    Raise DataError if it cannot be read, names code, holds a regular expression that may take long, or if its method or a key
    of it is none of those that are read.
    """
    check_folder(folder)
    config = _parsed(folder / "adapter_config.json")
    if not config:
        raise DataError(f"{folder}: its adapter_config.json is damaged; name an undamaged copy")
    if (method := config.get("peft_type")) not in METHODS:
        raise DataError(
            f"{folder}: an adapter of the type {str(method)[:40]!r}; read are {', '.join(METHODS)}; merge it into its base"
        )
    if unread := [key for key, value in config.items() if value and not READ.fullmatch(key)]:
        raise DataError(f"{folder}: its adapter_config.json has {unread[0][:80]!r}, which is not read; merge it into its base")
    if not INITIAL.fullmatch(initial := str(config.get("init_lora_weights", True)).lower()):
        raise DataError(f"{folder}: init_lora_weights is {initial[:80]!r}; set it to true, or merge the adapter into its base")
    for key, value in ((key, value) for key, value in config.items() if MATCHED.fullmatch(key)):
        for text in value if isinstance(value, list | dict) else [value]:
            if isinstance(text, str) and not NAME.fullmatch(text):
                why = "which PEFT would match with every module, perhaps for ever"
                raise DataError(f"{folder}: {key} holds the expression {text[:80]!r}, {why}; list the names of modules")
    return config
