"""Check a folder with a tuned model: an adapter, or a whole model whose weights fit its config.json."""

import json
from pathlib import Path
from typing import Any

from stages.errors import DataError


def is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()


def check_whole(folder: Path, where: str) -> None:
    """Raise DataError, which begins with `where`, unless the weights fit config.json.

    transformers itself would initialise missing tensors at random and ignore unexpected ones.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # hides a table of missing tensors, which the error below names
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        _, found = kind.from_pretrained(
            folder,
            dtype="auto",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
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


def adapter_config(folder: Path) -> dict[str, Any]:
    """Return the adapter_config.json of a stored adapter; raise DataError if it cannot be read."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError:  # includes text that is not UTF-8
        config = None
    if not isinstance(config, dict):
        raise DataError(f"{folder}: its adapter_config.json is damaged; name an undamaged copy")
    return config
