"""`tunetrail export`: the tuned model as one folder of safetensors with tokenizer and model card, checked before it is kept.

The check reads reference answers of the evaluated split through every form of the model (`forced`): no form writes a
text of its own, so that each difference is one between the models.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from stages import params
from stages.errors import DataError
from stages.files import whole_folder, write_json
from stages.generation.likelihoods import forced
from stages.models import stored
from stages.models.loading import LanguageModel, open_base
from stages.models.tuned import open_tuned
from stages.records import Example, read
from stages.text import chat

ROWS = 32
TOLERANCE = 0.1  # merging rounds to bf16: at most this part of what tuning changed, as norms of differences of logits
# What stages/text/chat.py passes to a template, by the name under which a template asks for it: a server passes none of it.
DEFAULTS = {
    "strftime_now": chat.FIXED_CLOCK,
    "enable_thinking": "{% set enable_thinking = enable_thinking | default(false) %}",
    "date_string": f"{{% set date_string = date_string | default('{chat.FIXED_DATE}') %}}",
}


def export(output: Path, adapter: Path | None) -> dict[str, Any]:
    """Merge the adapter (by default the first seed's) into the base and store it in `output`; returns the check's numbers.

    Model card and params.yaml go along where they describe the adapter: where it is one of models/.
    """
    p, runtime = params.read("name", "seeds", "quantization", "predict.split"), params.runtime()
    adapter = adapter or Path("models") / str(p.seeds[0]) / "adapter"
    if output.exists():
        raise DataError(f"--output {output}: exists; choose another folder or delete it")
    if stored.is_whole(adapter):
        stored.check_whole(adapter, f"--adapter {adapter}")
    merged = open_tuned(runtime, adapter)
    if merged.has_prompt:
        raise DataError(f"{adapter}: a prompt has no weights to merge; use `tunetrail predict --adapter {adapter}`")
    forms = {"base": open_base(runtime), "adapter": open_tuned(runtime, adapter, merge=False)}
    if p.quantization.type != "none":
        forms[p.quantization.type] = open_tuned(runtime, adapter, p.quantization, merge=False)
    examples = list(read(Path("data/formatted") / f"{p.predict.split}.jsonl", Example))[:ROWS]
    checked = compared({**forms, "merged": merged}, examples)
    if checked["merge_error"] > TOLERANCE:
        raise DataError(
            f"{adapter}: merged and rounded to bf16 it loses {checked['merge_error']:.3f} of what was learnt, more than "
            f"{TOLERANCE}; serve the base with the adapter beside it"
        )
    own = adapter.resolve() in [Path("models", str(seed), "adapter").resolve() for seed in p.seeds]
    described = {"README.md": Path("reports") / p.name / "model_card.md", "params.yaml": params.PARAMS} if own else {}
    _store(merged, described, checked, output)
    return checked


def compared(forms: dict[str, LanguageModel], examples: Sequence[Example]) -> dict[str, Any]:
    """How far the forms of one model differ; `base`, `adapter` and `merged` must be among them.

    `merge_error` is |merged - adapter| / |adapter - base| (norms of logits over all positions), `top1_agreement` the share of
    positions with the same most likely token, `logit_difference` a mean of absolute differences, `stop_rate` the share of
    rows in which a form ends after the reference answer.
    """
    stops, tokenizer = forms["base"].stop_ids, forms["base"].tokenizer
    stopped, same = Counter[str](), Counter[str]()
    squares, absolute = defaultdict[str, float](float), defaultdict[str, float](float)
    positions, numbers = 0, 0
    for example in examples:
        prompt, answer = chat.prompt_ids(tokenizer, example.prompt), chat.answer_ids(tokenizer, example.messages)[:-1]
        logits = {name: forced(lm, prompt, answer).float() for name, lm in forms.items()}
        positions += len(answer) + 1
        numbers += logits["base"].numel()
        stopped.update(name for name, rows in logits.items() if int(rows[-1].argmax()) in stops)
        for one, other in combinations(forms, 2):
            pair, difference = f"{one}/{other}", logits[one] - logits[other]
            squares[pair] += float(difference.square().sum())
            absolute[pair] += float(difference.abs().sum())
            same[pair] += int((logits[one].argmax(-1) == logits[other].argmax(-1)).sum())
    return {
        "rows": len(examples),
        "tolerance": TOLERANCE,
        "merge_error": round((squares["adapter/merged"] / squares["base/adapter"]) ** 0.5, 6)
        if squares["base/adapter"]
        else 0.0,
        "stop_rate": {name: round(stopped[name] / len(examples), 6) for name in forms},
        "top1_agreement": {pair: round(count / positions, 6) for pair, count in same.items()},
        "logit_difference": {pair: round(total / numbers, 6) for pair, total in absolute.items()},
    }


def _store(
    merged: LanguageModel,
    described: dict[str, Path],
    checked: dict[str, Any],
    output: Path,
) -> None:
    """Write beside, then rename; the folder says by itself where an answer ends and how a chat is rendered.

    `described`: files that go along, by the name that they get.
    """
    if missing := [path for path in described.values() if not path.is_file()]:
        raise DataError(f"{missing[0]}: no such file; the report writes the model card, run `dvc repro` first")
    model, tokenizer = merged.model, merged.tokenizer
    model.generation_config.eos_token_id = merged.stop_ids
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    template = str(tokenizer.chat_template)
    tokenizer.chat_template = "".join(text for name, text in DEFAULTS.items() if name in template) + template
    with whole_folder(output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for name, path in described.items():
            shutil.copyfile(path, folder / name)
        write_json(folder / "export.json", checked)
