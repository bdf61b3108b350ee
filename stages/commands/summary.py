"""`tunetrail summary`: the scores of the experiment in params.yaml, on the terminal."""

from pathlib import Path

from stages import params
from stages.report import table


def show() -> None:
    folder = Path("reports") / params.read("name").name
    table.show(table.read(folder), folder)
    if not any(Path("data/predictions").glob("*.jsonl")):
        print(
            "These numbers come from git: this clone has no predictions yet; `dvc repro` makes them, `dvc pull` fetches them."
        )
