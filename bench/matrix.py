"""Test every combination of adapter, quantization and model class on tiny random models, and write the support matrix.

    make matrix        or        python bench/matrix.py

Every cell trains for two steps, stores the adapter, loads it again, generates an answer and compares logits. The results go to
docs/reference/support-matrix.md; refusals and failures are quoted with their reason.
"""

import copy
import logging
import os
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from stages import files, params
from stages.errors import DataError, reason
from stages.generation import decoding
from stages.models import loading, sources
from stages.models.loading import LanguageModel
from stages.models.manifest import Manifest
from stages.models.tuned import load_tuned
from stages.params import compose
from stages.records import Example, Message
from stages.training import adapt, dataset, run

PAGE = compose.ROOT / "docs" / "reference" / "support-matrix.md"
FAST = {"train.learning_rate": 0.9}  # two steps at the usual rate would change less than rounding to bf16
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {  # name: adapter and other options
    "full": ("full", {}),
    "selective": ("selective", {"adapter.trainable": ["*layer*1.*"]}),
    "lora": ("lora", {}),
    "lora, rsLoRA": ("lora", {"lora.use_rslora": True}),
    "lora, DoRA": ("lora", {"lora.use_dora": True}),
    "lora, PiSSA": ("lora", {"lora.init": "pissa"}),
    "lora, LoftQ": ("lora", {"lora.init": "loftq"}),
    "adalora": ("adalora", FAST),
    "ia3": ("ia3", FAST),
    "prompt_tuning": ("prompt_tuning", FAST),
    "prefix_tuning (P-tuning v2)": ("prefix_tuning", {}),
    "prefix_tuning, projection": ("prefix_tuning", {"adapter.prefix_projection": True}),
    "p_tuning": ("p_tuning", {}),
    "llama_pro": ("llama_pro", {"adapter.blocks": 2}),
}
QUANTIZATIONS = ("none", "nf4", "fp4", "int8")
ARCHITECTURES = {"llama": "decoder-only (Llama)", "t5": "encoder–decoder (T5)"}
TRAINED = ("lora.r=4", "train.max_steps=2", "train.warmup_steps=0", "train.learning_rate=0.05")
OVERRIDES = ("experiment=smoke", "preference=none", "align=none", *TRAINED)
SAME = 0.1  # largest allowed loss on loading, as a share of what training changed (norms of logit differences)


def main() -> None:
    os.environ.setdefault("TUNETRAIL_CACHE", tempfile.mkdtemp())
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    shipped = compose.composed(*OVERRIDES)
    made = {name: sources.fetch(params.check(_with(shipped, {"model.architecture": name})).model) for name in ARCHITECTURES}
    seen = {
        (adapter, quantization, architecture): outcome(shipped, adapter, quantization, manifest)
        for architecture, manifest in made.items()
        for adapter in ADAPTERS
        for quantization in QUANTIZATIONS
    }
    files.write_text(PAGE, "\n".join(page(seen)) + "\n")
    print(f"{PAGE}: {list(seen.values()).count('works')} of {len(seen)} cells work")


def outcome(shipped: dict[str, Any], adapter: str, quantization: str, manifest: Manifest) -> str:
    """Return "works", or the reason why not."""
    kind, changes = ADAPTERS[adapter]
    values = copy.deepcopy(shipped)
    for section, chosen in (("adapter", kind), ("quantization", quantization)):
        values[section] = params.load(compose.ROOT / "conf" / section / f"{chosen}.yaml")
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            result = trained_and_loaded(params.check(_with(values, changes)), manifest)
    except DataError as error:
        result = f"refused: {error}"
    except Exception as error:  # the page also lists what a library cannot do
        result = f"fails: {type(error).__name__}: {reason(error)}"
    print(f"{manifest.model.architecture:6} {adapter:28} {quantization:5} {result}", flush=True)  # type: ignore[union-attr]
    return result


def trained_and_loaded(p: params.Params, manifest: Manifest) -> str:
    weights = sources.ensure(manifest)
    tokenizer = loading.load_tokenizer(weights)
    rows = dataset.tokenised([_row(number) for number in range(8)], tokenizer, 512)
    steps = run.steps(len(rows), p.train)
    base = loading.load_base(weights, "cpu", p.quantization, p.train.precision, p.train.attn_implementation)
    model = adapt.attach(base, p.adapter, p.lora, 1, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        lm = LanguageModel(model, tokenizer)
        run.train(lm, run.Rows(rows, rows), p.train, p.runtime, seed=1, unfinished=Path(folder) / "unfinished")
        adapt.save(lm, Path(folder) / "adapter", manifest)
        again = load_tuned(weights, Path(folder) / "adapter", "cpu", p.quantization, merge=False)
        decoding.greedy(LanguageModel(again, tokenizer), [[5, 6, 7]], 2)  # without autocast, like predict and export
        untuned, tuned, loaded = (_logits(m) for m in (loading.load_base(weights, "cpu", p.quantization), model.eval(), again))
    difference, change = float((loaded - tuned).norm()), float((tuned - untuned).norm())
    lost = difference / change
    return "works" if lost < SAME else f"fails: after loading, {lost:.2f} of the change is lost"


def page(seen: dict[tuple[str, str, str], str]) -> Iterator[str]:
    """Yield the lines of the page, with numbered reasons."""
    reasons = list(dict.fromkeys(result for result in seen.values() if result != "works"))
    yield "# What works with what\n"
    yield "Written by `make matrix` (bench/matrix.py) from tests of tiny random models on a CPU. Each cell trained for two"
    yield "steps, stored the result, loaded it again, generated an answer and compared logits. **Not tested**: CUDA, several"
    yield "machines, other architectures. The refusals hold everywhere.\n"
    for architecture, title in ARCHITECTURES.items():
        yield f"## {title}\n"
        yield f"| adapter | {' | '.join(QUANTIZATIONS)} |"
        yield "|---" * (len(QUANTIZATIONS) + 1) + "|"
        for adapter in ADAPTERS:
            cells = (seen[adapter, quantization, architecture] for quantization in QUANTIZATIONS)
            shown = (c if c == "works" else f"{c.split(':')[0]} ({reasons.index(c) + 1})" for c in cells)
            yield f"| {adapter} | {' | '.join(shown)} |"
        yield ""
    yield "## Reasons\n"
    for number, why in enumerate(reasons, start=1):
        yield textwrap.fill(f"{number}. {why}", 120, subsequent_indent="   ", break_on_hyphens=False)


def _with(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    for key, value in changes.items():
        section, name = key.split(".")
        changed[section][name] = value
    return changed


def _row(number: int) -> Example:
    turns = (
        Message(role="user", content=f"Is {number} even?"),
        Message(role="assistant", content="no" if number % 2 else "yes"),
    )
    return Example(kind="text", messages=turns, source=str(number))


def _logits(model: Any) -> Any:
    import torch

    from stages.models.precision import autocast

    ids = torch.arange(3, 60)[None]
    decoder = {"decoder_input_ids": ids[:, :9]} if model.config.is_encoder_decoder else {}
    with torch.inference_mode(), autocast("cpu", "bf16"):
        return model(input_ids=ids, **decoder).logits[:, -9:].float()  # the positions after a trained prompt


if __name__ == "__main__":
    main()
