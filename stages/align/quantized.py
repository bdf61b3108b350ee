"""The quantization of a reward model's base: stored with the model, and used again when it scores.

Its adapter and head were trained on the rounded weights, so a base in other bits would give other scores.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.errors import DataError
from stages.files import read_json
from stages.models import reward_model
from stages.params import Quantization
from stages.records import first_problem

NAME = "quantization.json"


def stored(quantization: Quantization) -> dict[str, dict[str, Any]]:
    """Return the file that a folder with a reward model has besides its adapter and its card."""
    return {NAME: quantization.model_dump()}


def read(folder: Path) -> Quantization | None:
    """Return the quantization with which a reward model was trained; raise DataError if it is unknown.

    None if the folder has no card either: open_reward_model refuses such a folder.
    """
    path = folder / NAME
    if not (folder / reward_model.CARD).is_file():
        return None
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, so the bits in which the reward model was trained are unknown; {reward_model.MADE}, or "
            'write the section quantization of its run there, e.g. {"type": "nf4", "double_quant": true}, and run `dvc add '
            f"{folder}`"
        )
    try:
        return Quantization.model_validate(read_json(path))
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}; {reward_model.MADE}") from None
