"""Open what a training needs: the model with the weights to train, tokenised rows, and a penalty on the loss."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from stages import device, records
from stages.models.loading import LanguageModel, load_base, open_model
from stages.models.manifest import MANIFEST, Manifest
from stages.params import WHOLE, Fit, Params, Runtime
from stages.records import Example
from stages.training import adapt, dataset, group, micro_batches, penalties, rows, run
from stages.training.run import Rows

PROTECTED = [Path("data/replay.jsonl"), Path("data/formatted/protected.jsonl")]  # by EWC


@dataclass(frozen=True)
class Opened:
    """`penalty` is added to the loss of a step; None without one. `runtime` has a number as micro_batch_size.

    `inputs` are the files that decide the result.
    """

    lm: LanguageModel
    rows: Rows
    options: Fit
    runtime: Runtime
    seed: int
    manifest: Manifest
    inputs: list[Path]
    penalty: Callable[[], Tensor] | None = None


def open_pretraining(p: Params, options: Fit, runtime: Runtime, manifest: Manifest, seed: int) -> Opened:
    """Return the base with the weights to train, and the documents."""
    base = _base(p, options, runtime, manifest)
    texts = rows.documents(base.tokenizer, p.format.max_length, options.packing)
    lm = _adapted(base, p, options, texts, seed)
    runtime = micro_batches.resolved(runtime, options, lm.model, texts.train)
    return Opened(lm, texts, options, runtime, seed, manifest, [rows.DOCUMENTS, MANIFEST])


def open_training(p: Params, runtime: Runtime, manifest: Manifest, seed: int, start: Path | None) -> Opened:
    """Return the chats, the model with the weights to train, stored in `start` if given, and the penalty asked for."""
    base = _base(p, p.train, runtime, manifest, start)
    chats = rows.chats(base.tokenizer, p.format.max_length, p.train.packing)
    lm = _adapted(base, p, p.train, chats, seed, start)
    penalty = _penalty(p, lm)
    runtime = micro_batches.resolved(runtime, p.train, lm.model, chats.train)
    begun = [path for path in sorted(start.iterdir()) if path.is_file()] if start else []
    return Opened(lm, chats, p.train, runtime, seed, manifest, [*rows.CHATS, *PROTECTED, MANIFEST, *begun], penalty)


def _base(p: Params, options: Fit, runtime: Runtime, manifest: Manifest, start: Path | None = None) -> LanguageModel:
    """Return the base model, or the whole model to start from where its own weights are trained."""
    group.join(runtime)
    whole = start if p.adapter.type in WHOLE else None

    def load(folder: Path, kind: str) -> PreTrainedModel:
        if whole:
            adapt.check_start(whole, folder)
        place = group.own_device(kind)
        _say_precision(place, options)
        return load_base(whole or folder, place, p.quantization, options.precision, options.attn_implementation)

    opened = open_model(runtime, load, manifest)
    group.share_threads(runtime)
    return opened


def _say_precision(place: str, options: Fit) -> None:
    if device.computed(place, options.precision) != options.precision:
        print(
            f"{options.section}.precision = {options.precision}: this processor has no fast products in it, so the model "
            "computes in fp32",
            file=sys.stderr,
        )


def _adapted(base: LanguageModel, p: Params, options: Fit, rows: Rows, seed: int, start: Path | None = None) -> LanguageModel:
    steps = run.steps(len(rows.train), options)
    if steps <= options.warmup_steps:
        print(
            f"warning: {options.section}.warmup_steps = {options.warmup_steps} in a run of {steps} steps: the learning rate "
            f"only rises and never reaches {options.learning_rate:g}; lower warmup_steps, or train longer",
            file=sys.stderr,
        )
    return LanguageModel(adapt.attach(base.model, p.adapter, p.lora, seed, steps=steps, start_from=start), base.tokenizer)


def _penalty(p: Params, lm: LanguageModel) -> Callable[[], Tensor] | None:
    if p.adapter.type == "adalora":
        return penalties.orthogonality(lm.model, p.adapter.orth_reg_weight)
    if p.replay.ewc_lambda:
        protected = [row for path in PROTECTED for row in records.read(path, Example)]
        return penalties.ewc(
            lm.model,
            dataset.tokenised(protected, lm.tokenizer, p.format.max_length),
            p.replay.ewc_lambda,
            p.train.precision,
        )
    return None
