"""`tunetrail compose`: params.yaml from conf/."""

from collections.abc import Sequence

from stages import params
from stages.commands import clone
from stages.errors import DataError
from stages.files import how_to_pull, write_text
from stages.kept.names import ADAPTERS
from stages.params import PARAMS, Train
from stages.params import compose as conf


def compose(overrides: Sequence[str], check: bool) -> None:
    """Write params.yaml; with `check`, raise DataError if it differs from what its experiment composes to."""
    if not check:
        text = conf.text(list(overrides))
        checked = params.check(params.parse(text.encode(), "conf/"))
        _require_start(checked.train)
        _require_kept(checked.predict.kept)
        with clone.without_experiment():  # checked after the composing, which takes a second
            write_text(PARAMS, text)
    elif differences := conf.differences():
        raise DataError("\n".join(differences))


def _require_start(train: Train) -> None:
    """Raise DataError if the folder to start from is missing: DVC depends on its content and would not name the key."""
    if train.start and not train.start.is_dir():
        how = how_to_pull(train.start) or "store one with `tunetrail keep NAME`"
        raise DataError(f"train.start_from = {train.start_from}: no such folder; {how}, or name another")


def _require_kept(names: Sequence[str]) -> None:
    """Raise DataError if an adapter to evaluate is missing, for the same reason."""
    if missing := [name for name in names if not (ADAPTERS / name).is_dir()]:
        how = how_to_pull(ADAPTERS / missing[0]) or "store one with `tunetrail keep NAME`"
        raise DataError(f"predict.kept: {ADAPTERS / missing[0]}: no such folder; {how}, or leave it out")
