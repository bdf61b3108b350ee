"""`tunetrail compose`: params.yaml from conf/."""

from collections.abc import Sequence

from stages import locks
from stages.commands import clone
from stages.errors import DataError
from stages.files import write_text
from stages.params import PARAMS
from stages.params import compose as conf


def compose(overrides: Sequence[str], check: bool) -> None:
    """Write params.yaml; with `check`, raise DataError if it differs from what its experiment composes to."""
    if not check:
        text = conf.text(list(overrides))
        with locks.without_experiment():  # checked after the composing, which takes a second
            clone.refuse_running()
            write_text(PARAMS, text)
    elif differences := conf.differences():
        raise DataError("\n".join(differences))
