"""`tunetrail benchmark export` and `run`: our own rows as a task of lm-evaluation-harness, and its tasks on base and adapters.

The harness is the optional dependency `lm-eval`. It gets the model as the predict stage loads it: bf16, adapter merged.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import files, locks, params, records
from stages.commands import clone, outputs
from stages.errors import DataError, reason
from stages.evaluate.metrics import score
from stages.models import sources
from stages.models.manifest import MANIFEST, read_manifest
from stages.models.stored import adapter_of
from stages.models.tokenizer import load_tokenizer
from stages.models.tuned import open_system
from stages.pages import render
from stages.records import Example, Message, Prediction
from stages.text import chat
from stages.text.prompts import shots_by_dataset, with_shots
from stages.text.turns import has_control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HERE = Path(__file__).parent


def export(shots: int, folder: Path) -> None:
    """Write the rows of the split, with `shots` examples in each prompt, and the task that reads them; print its name.

    Closed questions become a multiple-choice task (log-likelihood of each option). Other answers are generated and scored as
    in the evaluate stage.
    """
    clone.refuse_running()
    with locks.exclusive(folder), files.unchanged(params.PARAMS, MANIFEST, Path("data/formatted")):
        _export(shots, folder)


def _export(shots: int, folder: Path) -> None:
    p = params.read("name", "predict.split", "predict.max_new_tokens")
    split = Path("data/formatted") / f"{p.predict.split}.jsonl"
    outputs.require(split)
    tokenizer = load_tokenizer(sources.ensure(read_manifest()))
    examples = list(records.read(split, Example))
    for example in examples:
        if has_control_tokens(tokenizer, example.prompt):
            why = "which the harness would obey; remove the row"
            raise DataError(f"benchmark: row {example.id} holds a control token of the model, {why}")
    turns = shots_by_dataset(f"base_{shots}shot", examples)
    closed = all(example.choices for example in examples)
    lines = [
        {
            "prompt": chat.render(tokenizer, with_shots(example.prompt, turns[example.dataset]), answer_next=True),
            "reference": example.reference,
            "example": example.model_dump_json(),
            **({"choices": example.choices, "gold": example.choices.index(example.reference)} if closed else {}),
        }
        for example in examples
    ]
    task = f"tunetrail_{p.name}_{p.predict.split}_{shots}shot"
    rows = (folder / f"{task}.jsonl").resolve()
    stops = tokenizer.convert_ids_to_tokens(chat.stop_ids(tokenizer))
    metrics = [] if closed else list(dict.fromkeys(name for line in lines for name in process_results(line, [""])))
    text = _task(rows, closed, stops, p.predict.max_new_tokens, metrics)
    files.write_text(rows, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    files.write_text(folder / f"{task}.yaml", text)
    print(f"{task}: {len(lines)} rows in {folder}")


def _task(rows: Path, closed: bool, stops: Sequence[str], max_new_tokens: int, metrics: Sequence[str]) -> str:
    """Return the task file of exported rows, which bear the name of the task."""
    options = {"closed": closed, "stops": stops, "max_new_tokens": max_new_tokens, "metrics": metrics}
    return render(HERE / "task.yaml.jinja", task=rows.stem, rows=str(rows), **options)


def programs(folder: Path) -> list[Path]:
    """Return the files that can run Python code in the harness: modules, and task files that `export` did not write."""
    return [path for path in sorted(folder.rglob("*")) if path.suffix == ".py" or (path.suffix == ".yaml" and not _ours(path))]


def _ours(path: Path) -> bool:
    """Return whether `export` would write this very file from the values in it, which are JSON and name no code."""
    text = path.read_text(encoding="utf-8", errors="replace")
    limits = re.search(r"^generation_kwargs: \{until: (\[.*\]), max_gen_toks: (\d{1,9}), ", text, re.MULTILINE)
    try:
        stops, most = (json.loads(value) for value in limits.groups()) if limits else ([], 0)
        metrics = [json.loads(name) for name in re.findall(r'^  - \{metric: (".*"), ', text, re.MULTILINE)]
    except (ValueError, RecursionError):
        return False
    return text == _task(path.with_suffix(".jsonl").resolve(), limits is None, stops, most, metrics)


def process_results(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return the evaluate stage's scores of a generated answer, except stop_rate: the harness does not report stops."""
    example = Example.model_validate_json(doc["example"])
    text = results[0].strip()
    answer = Prediction(example=example.id, system="lm-eval", text=text, stopped=True, prompt_tokens=0, new_tokens=0)
    scores, _ = score(example, answer)
    return {name: value for name, value in scores.items() if name != "stop_rate"}


def without_control_tokens(rendered: Callable[..., str], tokenizer: "PreTrainedTokenizerBase") -> Callable[..., str]:
    """Return the harness's function that renders a chat, but let it refuse control tokens in the texts of a task.

    The harness tokenises the rendered chat as one text, so a control token in a message would end a turn.
    """

    def render(history: Sequence[Mapping[str, str]], *arguments: Any, **options: Any) -> str:
        messages = [Message.model_validate(turn) for turn in history]
        for message in messages:
            if has_control_tokens(tokenizer, [message]):
                raise DataError(
                    f"--chat: a task has a text with a control token of the model, {message.content[:80]!r}, which the harness "
                    "would obey; leave that task out of --tasks"
                )
        return rendered(history, *arguments, **options)

    return render


def run(
    tasks: Sequence[str], systems: Sequence[str], shots: int | None, limit: int | None, as_chat: bool, folder: Path
) -> None:
    """Run tasks of the harness, or exported tasks in `folder`, and write <folder>/<system>.json for each system.

    Each file has the hashes of what was measured, as `inputs`. `shots` replaces a task's own number of examples. `limit` takes
    only its first rows. `as_chat` renders prompts with the model's chat template; exported prompts are rendered already.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise DataError("lm-eval is not installed; pip install -e '.[lm-eval]'") from None

    clone.refuse_running()
    for system in systems:
        _answers(system)
    p, runtime = params.read("model", "predict.batch_size", "evaluate.allow_code"), params.runtime()
    if (found := programs(folder)) and not p.evaluate.allow_code:
        raise DataError(
            f"{found[0]}: can run Python code, and `tunetrail benchmark export` did not write it; move it away, or export "
            "again, or read it and set evaluate.allow_code=true"
        )
    known = TaskManager(include_path=str(folder) if folder.is_dir() else None)
    if unknown := [task for task in tasks if not known.match_tasks([task])]:
        raise DataError(
            f"--tasks {unknown[0]}: neither a task of lm-eval nor exported to {folder}; `lm_eval ls tasks` lists tasks"
        )
    for system in systems:
        with locks.exclusive(folder / f"{system}.json"):
            with files.unchanged(params.PARAMS, MANIFEST, adapter_of(system), *_answers(system)):
                lm = open_system(runtime, system)
                inputs = inputs_of(system)
            harness = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=p.predict.batch_size, add_bos_token=False)
            harness.apply_chat_template = without_control_tokens(harness.apply_chat_template, lm.tokenizer)
            try:
                evaluation = simple_evaluate(
                    harness, tasks=list(tasks), num_fewshot=shots, limit=limit, task_manager=known, apply_chat_template=as_chat
                )
            except OSError as error:
                raise DataError(f"--tasks {','.join(tasks)}: cannot download their data: {reason(error)}") from None
            evaluation.pop("samples", None)
            named = {**evaluation, "model_name": f"{p.model.name} {system}", "inputs": inputs}
            text = json.dumps(named, default=str, ensure_ascii=False, indent=2)
            files.write_text(folder / f"{system}.json", text + "\n")


def inputs_of(system: str) -> dict[str, str]:
    """Return the md5 of what decides a system: the base's manifest and the adapter.

    That of its answers to the split is added, which the report has too: by it, the report knows whether the system is the same.
    """
    adapter = [path for path in sorted(adapter_of(system).glob("*")) if path.is_file()]
    return outputs.hashes(MANIFEST, *adapter, *_answers(system))


def _answers(system: str) -> list[Path]:
    """Return the file with the answers of a tuned system; the base answers with examples, so it has none of its own."""
    return [] if system == "base" else [outputs.answers_of(system)]
