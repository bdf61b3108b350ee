"""`tunetrail plan`: what the run in params.yaml requests of a teacher, and what it needs of this machine."""

from rich.console import Console
from rich.table import Table

from stages import params
from stages.commands.plan import machine, requests


def show() -> None:
    """Print the requests of every synthesis method, then memory and time of training, pairs, align and predictions."""
    console, planned = Console(markup=False), requests.plan()
    if planned:
        console.print(_grid(requests.LABELS, {name: [*map(str, figures)] for name, figures in planned.items()}))
    else:
        console.print("synthesis.methods = [none]: nothing is requested")
    p = params.check_file()
    if not machine.ROWS.is_file():
        console.print(f"memory and time: {machine.ROWS} is missing; run `dvc repro format` first")
        return
    needs = machine.plan(p, console)
    console.print(_grid(machine.LABELS, {need.what: need.figures() for need in needs}))
    console.print(f"all of these stages together: about {machine.duration(sum(need.runs * need.seconds for need in needs))}")
    if unknown := not_estimated(p):
        console.print(f"not estimated: {', '.join(unknown)}")
    for need in needs:
        if need.advice:
            console.print(need.advice)


def not_estimated(p: params.Params) -> list[str]:
    """Return what of this run no trial measures, each with the reason."""
    parts = {
        "the judge's verdicts in pairs (their time is the teacher's)": "judge" in p.preference.sources,
        "align (a second model scores its answers, align.rewards.reward_model)": machine.scores_by_model(p),
        "answers with a passage (predict.passage)": p.predict.passage,
        "answers of kept adapters (predict.kept), each like tuned": bool(p.predict.kept),
        "answers by a server (engine.kind = openai); predictions are estimated as if made here": p.engine.kind == "openai",
    }
    return [part for part, wanted in parts.items() if wanted]


def _grid(labels: tuple[str, ...], columns: dict[str, list[str]]) -> Table:
    grid = Table("", *columns)
    for name, *figures in zip(labels, *columns.values(), strict=True):
        grid.add_row(name, *figures)
    return grid
