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
    answering = predict.add_mutually_exclusive_group()
    answering.add_argument(
        "--system", default="tuned", help="tuned, tuned_<seed> or base_<k>shot; several, by commas, answer side by side"
    )
    answering.add_argument(
        "--adapter",
        type=Path,
        action="append",
        default=[],
        help="a stored adapter instead of --system; several answer side by side, in this order",
    )

    export = commands.add_parser("export", help="the tuned model as one folder: merged safetensors, tokenizer, model card")
    export.add_argument("--output", type=Path, required=True, help="a new folder")
    export.add_argument(
        "--adapter", type=Path, help="a stored adapter; the default is the first seed's; another gets no model card"
    )

    compose = commands.add_parser("compose", help="write params.yaml from conf/, as `dvc exp run` does")
    compose.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. experiment=smoke lora.r=8")
    compose.add_argument("--check", action="store_true", help="write nothing; exit 1 where params.yaml differs")

    commands.add_parser("plan", help="what the synthesis would ask its teacher: requests, tokens, cost; asks nothing")

    trace = commands.add_parser("trace", help="the way back from a prediction or example to passages, facts, seeds and calls")
    trace.add_argument("id", help="of any record, e.g. from reports/<name>/items.jsonl; its first letters suffice")

    judge = commands.add_parser("judge", help="let the teacher compare two systems' answers and rate each")
    judge.add_argument("--systems", help="two of them, by a comma; default: the first tuned one, base with the most shots")
    judge.add_argument("--rows", type=int, default=50, help="how many rows of the split are judged (default 50)")

    doctor = commands.add_parser("doctor", help="what a kill, a full disk or another machine left behind, and its repair")
    doctor.add_argument("--fix", action="store_true", help="repair what can be repaired; without it nothing is changed")

    commands.add_parser("summary", help="the table of the report of params.yaml's experiment")

    audit = commands.add_parser("audit", help="a sheet of synthetic rows for people to judge, and their answers back")
    audit.add_argument(
        "direction", choices=["export", "import"], help="write the sheet, or read it into data/authored/audits/ for the report"
    )
    audit.add_argument("sheet", nargs="?", default="audit.csv", help="a CSV file, audit.csv unless told")

    compare = commands.add_parser("compare", help="what changed between two revisions, and whether it is more than noise")
    compare.add_argument("--base", required=True, metavar="REV", help="revision to compare with, e.g. main")
    compare.add_argument("--head", metavar="REV", help="revision to judge; without it, the working tree")
    compare.add_argument("--output", metavar="FILE", help="Markdown; without it, the terminal")
    compare.add_argument("--gate", action="store_true", help="exit 1 on a significant loss beyond report.margin")

    _rate_arguments(commands.add_parser("rate", help="blind sheets for people, and what they say"))
    _benchmark_arguments(commands.add_parser("benchmark", help="lm-evaluation-harness and HELM"))

    arguments = parser.parse_args()
    stage.run(lambda: COMMANDS[arguments.command](arguments))


def _rate_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    sheets = actions.add_parser("export", help="a sheet for each rater, and the key beside the folder")
    sheets.add_argument("--systems", required=True, type=names, help="e.g. base_3shot,tuned_42")
    sheets.add_argument("--raters", required=True, type=names, help="e.g. ann,ben,cho")
    sheets.add_argument("--rows", type=int, default=20, help="test rows, each answered by every system (default 20)")
    sheets.add_argument("--output", required=True, type=Path, metavar="FOLDER")
    filled = actions.add_parser("import", help="means by system and agreement of the raters, from filled sheets")
    filled.add_argument("folder", type=Path)
    filled.add_argument("--output", type=Path, metavar="FILE", help="JSON")


def _benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    task = actions.add_parser("export", help="the rows of the split as a task of lm-eval")
    task.add_argument("--shots", type=int, default=0, help="examples in each prompt (default 0)")
    task.add_argument("--output", required=True, type=Path, metavar="FOLDER")
    harness = actions.add_parser("run", help="tasks of lm-eval on base and adapters")
    harness.add_argument("--tasks", required=True, type=names, help="e.g. mmlu,glue, or an exported one")
    harness.add_argument("--systems", type=names, default=["base"], help="base or tuned_<seed>, by commas (default base)")
    harness.add_argument("--shots", type=int, help="examples in each prompt, instead of the task's own number")
    harness.add_argument("--limit", type=int, help="first rows of each task only")
    harness.add_argument("--chat", action="store_true", help="put prompts into the model's chat template")
    harness.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="results, and where exported tasks lie")
    results = actions.add_parser("import", help="JSON of lm-eval and stats.json of HELM in one table")
    results.add_argument("files", nargs="+", type=Path)
    results.add_argument("--output", type=Path, metavar="FILE", help="JSON")


def predict(arguments: argparse.Namespace) -> None:
    from stages.commands import predict

    predict.answer(arguments.input, arguments.output, names(arguments.system), arguments.adapter)


def export(arguments: argparse.Namespace) -> None:
    import json

    from stages.commands import export

    checked = export.export(arguments.output, arguments.adapter)
    print(json.dumps(checked, indent=2))


def compose(arguments: argparse.Namespace) -> None:
    from stages.errors import DataError
    from stages.params import PARAMS, compose

    if not arguments.check:
        compose.compose(arguments.overrides, PARAMS)
    elif differences := compose.differences():
        raise DataError("\n".join(differences))


def plan(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from stages.commands import plan

    planned = plan.plan()
    grid = Table("", *planned)
    for name in next(iter(planned.values()), {}):
        grid.add_row(name, *(str(figures[name]) for figures in planned.values()))
    Console().print(grid if planned else "synthesis.methods = [none]: nothing is asked")


def trace(arguments: argparse.Namespace) -> None:
    from stages import lineage

    for line in lineage.trace(arguments.id):
        print(line)


def judge(arguments: argparse.Namespace) -> None:
    from stages.commands import judge

    judge.judge(arguments.systems, arguments.rows)


def summary(arguments: argparse.Namespace) -> None:
    from stages import params
    from stages.report import table

    folder = Path("reports") / params.read("name").name
    table.show(table.read(folder), folder)


def doctor(arguments: argparse.Namespace) -> None:
    from stages.commands import doctor

    doctor.doctor(arguments.fix)


def audit(arguments: argparse.Namespace) -> None:
    from stages.commands import audit

    (audit.export if arguments.direction == "export" else audit.read_back)(Path(arguments.sheet))


def compare(arguments: argparse.Namespace) -> None:
    from stages.commands.compare import command

    command.compare(arguments.base, arguments.head, arguments.output, arguments.gate)


def rate(arguments: argparse.Namespace) -> None:
    from stages.commands import rate

    if arguments.action == "export":
        rate.export(arguments.systems, arguments.raters, arguments.rows, arguments.output)
    else:
        rate.read_back(arguments.folder, arguments.output)


def benchmark(arguments: argparse.Namespace) -> None:
    from stages.commands.benchmark import harness, results

    if arguments.action == "export":
        harness.export(arguments.shots, arguments.output)
    elif arguments.action == "run":
        asked = arguments.shots, arguments.limit, arguments.chat
        harness.run(arguments.tasks, arguments.systems, *asked, arguments.output)
    else:
        results.table(arguments.files, arguments.output)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


COMMANDS = {
    "predict": predict,
    "export": export,
    "compose": compose,
    "plan": plan,
    "trace": trace,
    "judge": judge,
    "doctor": doctor,
    "summary": summary,
    "audit": audit,
    "compare": compare,
    "rate": rate,
    "benchmark": benchmark,
}

if __name__ == "__main__":
    main()
