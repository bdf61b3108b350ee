"""Whether a run measured what the gate of `tunetrail compare` will judge, while a wrong name costs only this stage again."""

from collections.abc import Iterable, Sequence

from stages.errors import DataError
from stages.params.headline import RETENTION
from stages.report.item_scores import Table, lacking
from stages.report.retention import COUNTED, General


def require(gate: Iterable[str], table: Table, general: Sequence[General]) -> None:
    """Raise DataError that names the first metric of the gate which no item has."""
    measured = {item.measure for item in general}
    for metric in gate:
        if metric not in RETENTION:
            found = lacking(table, metric)
        else:
            found = "" if metric in measured else f"no {COUNTED[metric]} were measured; see retention.path and retention.texts"
        if found:
            raise DataError(f"report.gate.{metric}: {found}")
