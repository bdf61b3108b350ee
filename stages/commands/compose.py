"""`tunetrail compose`: params.yaml from conf/."""

from collections.abc import Sequence

from stages.commands import clone
from stages.errors import DataError
from stages.files import write_text
from stages.params import PARAMS
from stages.params import compose as conf


def compose(overrides: Sequence[str], check: bool) -> None:
    """Write params.yaml; with `check`, raise DataError if it differs from what its experiment composes to."""
    if not check:
        text = conf.text(list(overrides))
        with clone.without_experiment():  # checked after the composing, which takes a second
            write_text(PARAMS, text)
    elif differences := conf.differences():
        raise DataError("\n".join(differences))
