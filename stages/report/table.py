"""The scores as a table on the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from stages import formatting
from stages.errors import DataError
from stages.files import read_json
from stages.kept.names import is_kept
from stages.report.results import Numbers, Results, merged, parsed
from stages.report.summary import questions
from stages.systems import ALIGNED, TUNED, TUNED_PASSAGE, VOTE
from stages.terminal import visible

VERDICT = "verdict"
WIDE = 10_000  # columns of a terminal in which every table fits


def show(found: Results, folder: Path) -> None:
    """Print every metric of every system with its interval, the differences that each step made, and the report's path.

    Where they do not fit next to each other, the differences have a table of their own.
    """
    systems = [*sorted(name for name in found.systems if name.startswith("base_")), TUNED]
    systems += [name for name in (TUNED_PASSAGE, ALIGNED, VOTE) if name in found.systems]
    systems += filter(is_kept, found.systems)
    best = formatting.system_name(str(found.difference["against"]))
    differences = {f"tuned - {best}": found.difference}
    differences |= {"aligned - tuned": found.aligned_minus_tuned} if found.aligned_minus_tuned else {}
    metrics = [key.removesuffix("_lo") for key in found.systems[TUNED] if key.endswith("_lo")]
    rates = [
        (formatting.system_name(name), [_interval(found.systems[name], metric, formatting.percent) for metric in metrics])
        for name in systems
    ]
    changes = [
        column
        for name, numbers in differences.items()
        for column in (
            (name, [_interval(numbers, metric, formatting.signed) for metric in metrics]),
            (VERDICT, [visible(str(numbers[f"{metric}_verdict"])) for metric in metrics]),
        )
    ]
    console = Console(markup=False, emoji=False, highlight=False)  # a key may be `[/b]` or `:warning:`
    whole = _grid("percent", metrics, [*rates, *changes])
    if console.measure(whole, options=console.options.update(max_width=WIDE)).maximum <= console.width:
        console.print(whole)
    else:
        console.print(_grid("percent", metrics, rates))
        console.print(_grid("points", metrics, changes))
    rows = formatting.row_count(int(found.systems[TUNED]["n"] or 0), questions(found.totals or {}).get(""))
    below = f"{rows} of the {found.split} split, 95 % intervals. Report: {folder / 'index.html'}"
    console.print(visible(below), soft_wrap=True)


def _grid(unit: str, metrics: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> Table:
    """Return a table with a row for each metric; in few columns of a terminal its cells are folded, and nothing is cut off."""
    headers = [unit, *(header for header, _ in columns)]
    grid = Table(
        *(Column(visible(header), overflow="fold", no_wrap=header == VERDICT) for header in headers),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for metric, *cells in zip(metrics, *(cells for _, cells in columns), strict=True):
        grid.add_row(visible(formatting.metric_name(metric)), *cells)
    return grid


def read(folder: Path) -> Results:
    """Return all numbers of the report in `folder`; raise DataError if there is none."""
    if not (folder / "metrics.json").is_file():
        raise DataError(f"{folder}: no report yet; run `dvc repro`")
    return parsed(merged(read_json(folder / "metrics.json"), read_json(folder / "details.json")))


def _interval(numbers: Numbers, metric: str, form: Callable[[float], str]) -> str:
    mean, low, high = (form(float(numbers[name] or 0)) for name in (metric, f"{metric}_lo", f"{metric}_hi"))
    return f"{mean}\n[{low}, {high}]"
