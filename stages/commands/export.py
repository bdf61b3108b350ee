"""`tunetrail export`: the tuned model as one folder with its model card, checked before it is kept.

The folder holds safetensors and a tokenizer, or one GGUF file and a Modelfile (stages/commands/gguf/).

For the check every form of the model reads the reference answers of the evaluated split (`forced`). No form generates text of
its own, so each difference is one between the models.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from stages import locks, params, systems
from stages.commands import clone, outputs
from stages.commands.gguf.convert import require_environment
from stages.commands.gguf.write import Gguf
from stages.commands.gguf.write import require as require_gguf
from stages.commands.gguf.write import write as write_gguf
from stages.errors import DataError
from stages.files import unchanged, whole_folder, write_json
from stages.generation.likelihoods import forced
from stages.models import stored
from stages.models.loading import LanguageModel, open_base
from stages.models.manifest import MANIFEST, read_manifest
from stages.models.tuned import open_tuned
from stages.params import Params, Runtime
from stages.records import Example, read
from stages.text import chat

ROWS = 32
QUANT, CONVERTER = "q8_0", Path(".venv-gguf")
TOLERANCE = 0.1  # largest merge_error that merging may cost by rounding to bf16
# The values that stages/text/chat.py passes to a template, by the name in the template. A server passes none of them.
DEFAULTS = {
    "strftime_now": chat.FIXED_CLOCK,
    "enable_thinking": "{% set enable_thinking = enable_thinking | default(false) %}",
    "date_string": f"{{% set date_string = date_string | default('{chat.FIXED_DATE}') %}}",
}


@dataclass(frozen=True)
class Check:
    """How far the forms of one model differ, a form being the base, base and adapter, or the merged model.

    `merge_error` is |merged - adapter| / |adapter - base|, as norms of logits over all positions. `stop_rate` is the share of
    rows in which a form ends after the reference answer. `top1_agreement` is the share of positions at which two forms have
    the same most likely token, `logit_difference` the mean absolute difference of their logits.
    """

    rows: int
    tolerance: float
    merge_error: float
    stop_rate: dict[str, float]
    top1_agreement: dict[str, float]
    logit_difference: dict[str, float]


def export(
    output: Path,
    adapter: Path | None = None,
    form: str = "folder",
    quant: str | None = None,
    converter: Path | None = None,
) -> None:
    """Merge the adapter (by default the first seed's) into the base, store it in `output` and print the check.

    The model card and params.yaml are copied only for an adapter of this run, tuned or aligned: they describe no other.
    """
    if form == "folder" and (quant or converter):
        raise DataError(f"--{'quant' if quant else 'converter'}: is for --format gguf alone; leave it out or add that")
    clone.refuse_running()
    names = ("name", "seeds", "data", "quantization", "align.method", "predict.split", "predict.max_new_tokens")
    p, runtime = params.read(*names), params.runtime()
    adapter = adapter or stored.adapter_of(p.seeds[0])
    split, card = Path("data/formatted") / f"{p.predict.split}.jsonl", Path("reports") / p.name / "model_card.md"
    with locks.exclusive(output), unchanged(params.PARAMS, MANIFEST, adapter, split, card):
        outputs.require(MANIFEST, split)
        settings = (read_manifest().model.name, p.data.system, p.predict.max_new_tokens)
        gguf = Gguf(quant or QUANT, converter or CONVERTER, *settings) if form == "gguf" else None
        _export(p, runtime, adapter, split, card, output, gguf)


def _export(p: Params, runtime: Runtime, adapter: Path, split: Path, card: Path, output: Path, gguf: Gguf | None) -> None:
    if output.exists():
        raise DataError(f"--output {output}: already exists; choose another folder or delete it")
    if gguf:
        require_environment(gguf.converter)
    if stored.is_whole(adapter):
        stored.check_whole(adapter, f"--adapter {adapter}")
    merged = open_tuned(runtime, adapter)
    if merged.has_prompt:
        raise DataError(f"{adapter}: a trained prompt cannot be merged; use `tunetrail predict --adapter {adapter}`")
    gguf = require_gguf(gguf, merged) if gguf else None
    forms = {"base": open_base(runtime), "adapter": open_tuned(runtime, adapter, merge=False)}
    if p.quantization.type != "none":
        forms[p.quantization.type] = open_tuned(runtime, adapter, p.quantization, merge=False)
    examples = list(read(split, Example))[:ROWS]
    check = compare({**forms, "merged": merged}, examples)
    if check.merge_error > TOLERANCE:
        raise DataError(
            f"{adapter}: merging and rounding to bf16 loses {100 * check.merge_error:.1f} % of what was learned, more "
            f"than {100 * TOLERANCE:g} %; use the adapter unmerged: `tunetrail predict --adapter {adapter}`"
        )
    names = [*systems.tuned(p.seeds).values(), *systems.aligned(p.seeds, p.align.method).values()]
    own = adapter.resolve() in [stored.adapter_of(name).resolve() for name in names]
    copies = {"README.md": card, "params.yaml": params.PARAMS} if own else {}
    if own:
        outputs.require_of_run(card)
    _store(merged, copies, check, output, partial(write_gguf, gguf, merged, examples) if gguf else None)
    print("\n".join(sentences(check, output)))


def compare(forms: dict[str, LanguageModel], examples: Sequence[Example]) -> Check:
    """Compare every pair of forms on the examples; `base`, `adapter` and `merged` must be among them."""
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
    learned = squares["base/adapter"]
    return Check(
        rows=len(examples),
        tolerance=TOLERANCE,
        merge_error=round((squares["adapter/merged"] / learned) ** 0.5, 6) if learned else 0.0,
        stop_rate={name: round(stopped[name] / len(examples), 6) for name in forms},
        top1_agreement={pair: round(count / positions, 6) for pair, count in same.items()},
        logit_difference={pair: round(total / numbers, 6) for pair, total in absolute.items()},
    )


def _store(
    merged: LanguageModel,
    copies: dict[str, Path],
    check: Check,
    output: Path,
    to_gguf: Callable[[Path, Path], dict[str, Any]] | None = None,
) -> None:
    """Store the model with its end tokens and chat template, so that a server needs nothing else.

    `copies`: files to copy, by their new name. `to_gguf` replaces the stored model by files that it writes, and returns what
    they hold.
    """
    if missing := [path for path in copies.values() if not path.is_file()]:
        raise DataError(f"{missing[0]}: no such file; the report writes the model card, run `dvc repro` first")
    model, tokenizer = merged.model, merged.tokenizer
    if model.dtype == torch.float32:  # computed in, on a processor that is slow in bf16; its weights are rounded to bf16
        model = model.to(torch.bfloat16)
    model.generation_config.eos_token_id = merged.stop_ids
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    template = str(tokenizer.chat_template)
    tokenizer.chat_template = "".join(text for name, text in DEFAULTS.items() if name in template) + template
    found = asdict(check)
    with whole_folder(output) as folder:
        weights = folder / "merged" if to_gguf else folder
        weights.mkdir(exist_ok=True)
        model.save_pretrained(weights)
        tokenizer.save_pretrained(weights)
        if to_gguf:
            found["gguf"] = to_gguf(weights, folder)
            shutil.rmtree(weights)
        for name, path in copies.items():
            shutil.copyfile(path, folder / name)
        write_json(folder / "export.json", found)


def sentences(check: Check, output: Path) -> list[str]:
    """Return what the terminal shows of a check; export.json holds all numbers."""
    ends = ", ".join(f"{name} {100 * rate:.1f} %" for name, rate in check.stop_rate.items())
    return [
        f"{output}: stored; {check.rows} reference answers were read by each form of the model",
        f"merging and rounding to bf16 loses {100 * check.merge_error:.1f} % of what was learned, at most "
        f"{100 * check.tolerance:g} % is allowed",
        f"merged model and adapter have the same most likely token at {100 * check.top1_agreement['adapter/merged']:.1f} % of "
        "the positions",
        f"answers that end where the reference does: {ends}",
        f"all numbers: {output / 'export.json'}",
    ]
