"""Whether the rows that will be scored have the headline of the report."""

from collections.abc import Iterable

from stages.errors import DataError
from stages.params import headline as measured
from stages.params.headline import DECLINED, METRICS, Kind
from stages.records import Style, Task
from stages.slices import is_to_decline
from stages.text.objects import parsed


def require(headline: str, split: str, tasks: Iterable[Task]) -> None:
    """Raise DataError that names the metrics or slices there are, unless some row of the split has the headline."""
    kinds = {Kind(_metrics(task), (*task.slices, *filter(None, [task.dataset]))) for task in tasks}
    if kinds and (found := measured.mistake(headline, sorted(kinds), f"the {split} split")):
        raise DataError(f"report.headline = {headline}: {found}")


def _metrics(task: Task) -> tuple[str, ...]:
    names = DECLINED if task.kind == "text" and is_to_decline(task.slices) else METRICS[task.kind]
    fields = parsed(task.output) or {} if task.kind == "extraction" else {}
    others = (name for name in names if name != measured.FIELD)
    return (*others, *(f"{field}_exact" for field in fields), *(_of_style(task.style) if task.style else ()))


def _of_style(style: Style) -> Iterable[str]:
    asked = (style.min_words is not None or style.max_words is not None, bool(style.required), bool(style.forbidden))
    return (name for name, is_asked in zip(measured.STYLE, asked, strict=True) if is_asked)
