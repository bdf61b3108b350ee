"""`tunetrail summary`: the scores of the experiment in params.yaml, on the terminal."""

from pathlib import Path

from stages import params
from stages.report import table


def show() -> None:
    folder = Path("reports") / params.read("name").name
    table.show(table.read(folder), folder)
