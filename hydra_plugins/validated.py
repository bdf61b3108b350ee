"""Reject a wrong `-S` while Hydra composes, before params.yaml is written and before any stage runs.

DVC imports this folder before it composes conf/. `schema: ${validated:}` in conf/config.yaml calls the resolver, which
checks the composed values with the schema of stages/params/.
"""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

ROOT = Path(__file__).resolve().parents[1]


def validated(*, _root_: DictConfig) -> str:
    """Return "valid", or raise an error with one line per mistake in the composed values.

    OmegaConf passes its own initialised errors on and puts words of its own around all others.
    """
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from stages.errors import DataError
    from stages.params import check

    values: Any = {key: _root_._get_node(key) for key in _root_ if key != "schema"}
    values = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    try:
        check({**values, "schema": "valid"})
    except DataError as error:
        refusal = InterpolationResolutionError(str(error))
        refusal._initialized = True
        raise refusal from None
    return "valid"


OmegaConf.register_new_resolver("validated", validated, replace=True)
