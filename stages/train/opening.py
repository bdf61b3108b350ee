"""Open what a training needs: the model with the weights to train, tokenised rows, and a penalty on the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages import records
from stages.errors import DataError
from stages.models.loading import LanguageModel, load_base, open_model
from stages.models.manifest import MANIFEST, Manifest
from stages.params import WHOLE, Params, Runtime
from stages.records import Document, Example
from stages.train import adapt, dataset, micro_batches, penalties, run
from stages.train.run import Rows

FORMATTED, DOCUMENTS, REPLAY = Path("data/formatted"), Path("data/raw/documents.jsonl"), Path("data/replay.jsonl")
INPUTS = [FORMATTED / "train.jsonl", FORMATTED / "valid.jsonl", DOCUMENTS, REPLAY, MANIFEST]


@dataclass(frozen=True)
class Opened:
    """`penalty` is added to the loss of a step; None without one. `runtime` has a number as micro_batch_size."""

    lm: LanguageModel
    rows: Rows
    penalty: Callable[[], Tensor] | None
    runtime: Runtime


def open_training(p: Params, runtime: Runtime, manifest: Manifest, seed: int) -> Opened:
    """Return the model with its adapter, the rows and the penalty that the parameters ask for."""
    start = Path(p.train.start_from) if p.train.start_from else None
    whole = start if p.adapter.type in WHOLE else None

    def load(folder: Path, device: str) -> PreTrainedModel:
        if whole:
            adapt.check_start(whole, folder)
        return load_base(whole or folder, device, p.quantization, p.train.precision, p.train.attn_implementation)

    base = open_model(runtime, load, manifest)
    rows = _rows(p, base.tokenizer)
    steps = run.steps(len(rows.train), p.train)
    model = adapt.attach(base.model, p.adapter, p.lora, seed, trainable=p.train.trainable, steps=steps, start_from=start)
    lm = LanguageModel(model, base.tokenizer)
    penalty = None
    if p.adapter.type == "adalora":
        penalty = penalties.orthogonality(model, p.adapter.orth_reg_weight)
    elif p.replay.ewc_lambda:
        general = dataset.tokenised(records.read(REPLAY, Example), lm.tokenizer, p.format.max_length)
        penalty = penalties.ewc(model, general, p.replay.ewc_lambda, p.train.precision)
    return Opened(lm, rows, penalty, micro_batches.resolved(runtime, p.train, model, rows.train))


def _rows(p: Params, tokenizer: PreTrainedTokenizerBase) -> Rows:
    """Return the rows for training and validation: chats, or documents, of which every twentieth is for validation."""
    max_length = p.format.max_length
    if p.train.objective == "sft":
        splits = [list(records.read(FORMATTED / f"{split}.jsonl", Example)) for split in ("train", "valid")]
        if not 500 <= len(splits[0]) <= 5000:
            print(f"advice: {len(splits[0])} training rows; 500 to 5,000 clean rows are usually advised")
        train, valid = (dataset.tokenised(examples, tokenizer, max_length) for examples in splits)
    else:
        texts = list(records.read(DOCUMENTS, Document))
        if not texts:
            raise DataError(f"{DOCUMENTS}: empty, but train.objective = continued_pretraining; choose data that has documents")
        kept = [text for place, text in enumerate(texts, start=1) if place % 20]
        train, valid = (dataset.documents(part, tokenizer, max_length) for part in (kept, texts[19::20]))
    return Rows(dataset.packed(train, tokenizer, max_length) if p.train.packing else train, valid)
