"""The scores as a table on the terminal."""

from collections.abc import Callable
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from stages import formatting
from stages.errors import DataError
from stages.files import read_json
from stages.report.results import Numbers, Results, merged, parsed
from stages.report.summary import questions
from stages.systems import ALIGNED, TUNED, TUNED_PASSAGE
from stages.terminal import visible


def show(found: Results, folder: Path) -> None:
    """Print every metric of every system with its interval, the differences that each step made, and the report's path."""
    systems = [*sorted(name for name in found.systems if name.startswith("base_")), TUNED]
    systems += [name for name in (TUNED_PASSAGE, ALIGNED) if name in found.systems]
    best = formatting.system_name(str(found.difference["against"]))
    differences = {f"tuned - {best}": found.difference}
    differences |= {"aligned - tuned": found.aligned_minus_tuned} if found.aligned_minus_tuned else {}
    headers = ["percent", *map(formatting.system_name, systems)]
    grid = Table(
        *(Column(visible(header), overflow="fold") for header in headers),  # in few columns, nothing is cut off
        *(
            column
            for header in differences
            for column in (Column(visible(header), overflow="fold"), Column("verdict", no_wrap=True))
        ),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for metric in (key.removesuffix("_lo") for key in found.systems[TUNED] if key.endswith("_lo")):
        rates = [_interval(found.systems[system], metric, formatting.percent) for system in systems]
        changes = [
            cell
            for numbers in differences.values()
            for cell in (_interval(numbers, metric, formatting.signed), visible(str(numbers[f"{metric}_verdict"])))
        ]
        grid.add_row(visible(formatting.metric_name(metric)), *rates, *changes)
    console = Console(markup=False, emoji=False, highlight=False)  # a key may be `[/b]` or `:warning:`
    console.print(grid)
    rows = formatting.row_count(int(found.systems[TUNED]["n"] or 0), questions(found.totals or {}).get(""))
    below = f"{rows} of the {found.split} split, 95 % intervals. Report: {folder / 'index.html'}"
    console.print(visible(below), soft_wrap=True)


def read(folder: Path) -> Results:
    """Return all numbers of the report in `folder`; raise DataError if there is none."""
    if not (folder / "metrics.json").is_file():
        raise DataError(f"{folder}: no report yet; run `dvc repro`")
    return parsed(merged(read_json(folder / "metrics.json"), read_json(folder / "details.json")))


def _interval(numbers: Numbers, metric: str, form: Callable[[float], str]) -> str:
    mean, low, high = (form(float(numbers[name] or 0)) for name in (metric, f"{metric}_lo", f"{metric}_hi"))
    return f"{mean}\n[{low}, {high}]"
