"""Open model folders that somebody else wrote: no code in them is run, nothing is looked up on the hub, no pickle is read.

All calls of `from_pretrained` on such a folder stand here; a folder is checked before any library sees it.
"""

from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from stages.models.stored import check_folder, refuse_adapter

LOCAL = {"trust_remote_code": False, "local_files_only": True}


def config(folder: Path) -> PretrainedConfig:
    """Return the configuration of a model folder."""
    check_folder(folder)
    refuse_adapter(folder)
    return AutoConfig.from_pretrained(folder, **LOCAL)


def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder."""
    check_folder(folder)
    return AutoTokenizer.from_pretrained(folder, **LOCAL)


def model(folder: Path, **how: Any) -> Any:
    """Return the model of a folder, or with `output_loading_info` the model and what fitted nowhere.

    Its attention is the caller's, not the configuration's, which may need packages that are not installed.
    """
    settings, attention = config(folder), how.pop("attn_implementation", "sdpa")
    settings._attn_implementation = attention
    kind = AutoModelForSeq2SeqLM if settings.is_encoder_decoder else AutoModelForCausalLM
    return kind.from_pretrained(folder, config=settings, attn_implementation=attention, use_safetensors=True, **LOCAL, **how)
