"""The scores as a table on the terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from stages import formatting
from stages.errors import DataError
from stages.files import read_json
from stages.report.evidence import Json
from stages.report.results import merged
from stages.report.summary import TUNED
from stages.terminal import visible


def show(metrics: Json, folder: Path) -> None:
    """Print every metric of every system with its interval, the difference to the best base, and the report's path."""
    systems = [*sorted(name for name in metrics if name.startswith("base_")), TUNED]
    best = formatting.system_name(metrics["difference"]["against"])
    headers = ["percent", *map(formatting.system_name, systems), f"tuned - {best}"]
    grid = Table(
        *(Column(visible(header), overflow="fold") for header in headers),  # in few columns, nothing is cut off
        Column("verdict", no_wrap=True),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for metric in (key.removesuffix("_lo") for key in metrics[TUNED] if key.endswith("_lo")):
        rates = [_interval(metrics[system], metric, formatting.percent) for system in systems]
        difference = _interval(metrics["difference"], metric, formatting.signed)
        verdict = metrics["difference"][f"{metric}_verdict"]
        grid.add_row(visible(formatting.metric_name(metric)), *rates, difference, visible(verdict))
    console = Console(markup=False, emoji=False, highlight=False)  # a key may be `[/b]` or `:warning:`
    console.print(grid)
    rows = f"{metrics[TUNED]['n']} rows of the {metrics['split']} split, 95 % intervals. Report: {folder / 'index.html'}"
    console.print(visible(rows), soft_wrap=True)


def read(folder: Path) -> Json:
    """Return all numbers of the report in `folder`; raise DataError if there is none."""
    if not (folder / "metrics.json").is_file():
        raise DataError(f"{folder}: no report yet; run `dvc repro`")
    return merged(read_json(folder / "metrics.json"), read_json(folder / "details.json"))


def _interval(numbers: Any, metric: str, form: Callable[[float], str]) -> str:
    return f"{form(numbers[metric])}\n[{form(numbers[f'{metric}_lo'])}, {form(numbers[f'{metric}_hi'])}]"
