"""The tunetrail command: what a user does besides `dvc repro` and `dvc exp run`."""

import argparse
from pathlib import Path

from stages import stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="tunetrail", description="Adapt a small language model with DVC, Hydra and a trail.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    predict = commands.add_parser("predict", help="answers of the tuned (or base) model to texts of yours")
    predict.add_argument(
        "--input", required=True, help='JSON Lines of {"input": ...} or plain text lines; - for standard input'
    )
    predict.add_argument("--output", required=True, help="JSON Lines, in order; - for standard output")
    predict.add_argument(
        "--system", default="tuned", help="tuned, tuned_<seed> or base_<k>shot; several, by commas, answer side by side"
    )
    predict.add_argument(
        "--adapter",
        type=Path,
        action="append",
        default=[],
        help="a stored adapter instead of --system; several answer side by side",
    )

    export = commands.add_parser("export", help="the tuned model as one folder: merged safetensors, tokenizer, model card")
    export.add_argument("--output", type=Path, required=True, help="a new folder")
    export.add_argument("--adapter", type=Path, help="a stored adapter; the default is the first seed's")

    compose = commands.add_parser("compose", help="write params.yaml from conf/, as `dvc exp run` does")
    compose.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. experiment=smoke lora.r=8")
    compose.add_argument("--check", action="store_true", help="write nothing; exit 1 where params.yaml differs")

    commands.add_parser("plan", help="what the synthesis would ask its teacher: requests, tokens, cost; asks nothing")

    trace = commands.add_parser("trace", help="the way back from a prediction or example to passages, facts, seeds and calls")
    trace.add_argument("id", help="of any record, e.g. from reports/<name>/items.jsonl; its first letters suffice")

    commands.add_parser("summary", help="the table of the report of params.yaml's experiment")
    arguments = parser.parse_args()
    stage.run(lambda: COMMANDS[arguments.command](arguments))


def predict(arguments: argparse.Namespace) -> None:
    from stages import predict_file

    systems = [name.strip() for name in arguments.system.split(",") if name.strip()]
    predict_file.answer(arguments.input, arguments.output, systems, arguments.adapter)


def export(arguments: argparse.Namespace) -> None:
    import json

    from stages import export

    checked = export.export(arguments.output, arguments.adapter)
    print(json.dumps(checked, indent=2))


def compose(arguments: argparse.Namespace) -> None:
    from stages import compose
    from stages.params import PARAMS
    from stages.records import DataError

    if not arguments.check:
        compose.compose(arguments.overrides, PARAMS)
    elif differences := compose.differences():
        raise DataError("\n".join(differences))


def plan(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from stages import plan

    planned = plan.plan()
    grid = Table("", *planned)
    for name in next(iter(planned.values()), {}):
        grid.add_row(name, *(str(figures[name]) for figures in planned.values()))
    Console().print(grid if planned else "synthesis.methods = [none]: nothing is asked")


def trace(arguments: argparse.Namespace) -> None:
    from stages import lineage

    for line in lineage.trace(arguments.id):
        print(line)


def summary(arguments: argparse.Namespace) -> None:
    from stages import params
    from stages.report import table

    folder = Path("reports") / params.read("name").name
    table.show(table.read(folder), folder)


COMMANDS = {
    "predict": predict,
    "export": export,
    "compose": compose,
    "plan": plan,
    "trace": trace,
    "summary": summary,
}

if __name__ == "__main__":
    main()
