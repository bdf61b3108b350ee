"""Reward models: the base with an adapter and a head that scores an answer, instead of the head that writes tokens.

A stored one is a folder with PEFT's adapter, in whose safetensors the head is, and a card that names base and tokenizer.
Scores of another tokenizer or base would be noise, so such a model is refused.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel, PreTrainedTokenizerBase

from stages.errors import DataError
from stages.models.loading import LanguageModel, load_base, open_model
from stages.models.manifest import Manifest
from stages.models.stored import adapter_config
from stages.models.tokenizer import load_tokenizer
from stages.models.tuned import with_adapter
from stages.params import Quantization, Runtime
from stages.params.aligning import REWARD_CARD as CARD
from stages.records import content_hash
from stages.text import chat

HEAD = "score"  # its name in transformers' classes
ROWS = 16  # answers scored at a time
OF_WEIGHTS = ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "quantization_method", "hf_quantizer", "hf_device_map")
MADE = "make one with align=reward"


class Card(BaseModel):
    """What a reward model belongs to; `files` and `tokenizer` are hashes of the base's files and of its rendering."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    files: str
    hidden_size: int
    vocabulary: int
    tokenizer: str


class Score(torch.nn.Linear):
    """A head from the last hidden state to one number, in fp32 under autocast too: bf16 would make close scores equal."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.to(self.weight.dtype))


def card(manifest: Manifest, config: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Card:
    """Return the card of a reward model on this base, whose configuration is `config`."""
    text = config.get_text_config()
    return Card(
        base=manifest.model.name,
        files=content_hash({name: file.sha256 for name, file in manifest.files.items()}),
        hidden_size=text.hidden_size,
        vocabulary=text.vocab_size,
        tokenizer=chat.rendering_hash(tokenizer),
    )


def with_head(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
    """Return the body of a base with a new head of one number; raise DataError if its architecture has no such class.

    The head's weights are drawn from the seed, with variance 1 / (width + 1) as in Stiennon et al. 2020 (arXiv:2009.01325).
    """
    config = base.config
    config.num_labels, config.get_text_config().pad_token_id = 1, padding(tokenizer)
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise DataError(f"reward model: transformers has no class that scores texts for {config.model_type}; use another model")
    with torch.device("meta"):
        model = kind(config)
    setattr(model, model.base_model_prefix, base.base_model)
    head = Score(config.get_text_config().hidden_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0, (head.in_features + 1) ** -0.5, generator=generator)
    setattr(model, HEAD, head.to(base.device))
    if any(weight.is_meta for weight in model.parameters()):
        raise DataError(f"reward model: the class of transformers for {config.model_type} has other heads; use another model")
    for name in OF_WEIGHTS:
        if hasattr(base, name):
            setattr(model, name, getattr(base, name))
    return model.eval()


def padding(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return a control token that ends no answer.

    The head reads the last token that is not padding; many models pad with the token that ends an answer.
    """
    ends = chat.stop_ids(tokenizer)
    return next((id for id in sorted(tokenizer.all_special_ids) if id not in ends), tokenizer.pad_token_id)


def scores(lm: LanguageModel, rows: Sequence[list[int]]) -> list[float]:
    """Return the reward of each row of token ids, a prompt with its answer."""
    pad, device = lm.model.config.get_text_config().pad_token_id, lm.model.device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: dict[int, float] = {}
    training = lm.model.training
    lm.model.eval()
    for batch in (order[at : at + ROWS] for at in range(0, len(order), ROWS)):
        longest = max(len(rows[i]) for i in batch)
        ids = torch.tensor([rows[i] + [pad] * (longest - len(rows[i])) for i in batch], device=device)
        mask = torch.tensor([[1] * len(rows[i]) + [0] * (longest - len(rows[i])) for i in batch], device=device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lm.model.dtype == torch.bfloat16):
            logits = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        found.update(zip(batch, logits[:, 0].float().tolist(), strict=True))
    lm.model.train(training)
    return [found[i] for i in range(len(rows))]


def open_reward_model(folder: Path, runtime: Runtime, quantization: Quantization | None, manifest: Manifest) -> LanguageModel:
    """Return a stored reward model, ready to score; raise DataError if it is none, or one of another base or tokenizer.

    `quantization` is that of the base in its training.
    """
    stored = _checked(folder)

    def load(weights: Path, device: str) -> PreTrainedModel:
        base = load_base(weights, device, quantization)
        tokenizer = load_tokenizer(weights)
        _require_same(folder, stored, card(manifest, base.config, tokenizer))
        return with_adapter(with_head(base, tokenizer), folder).eval()

    return open_model(runtime, load, manifest)


def _checked(folder: Path) -> Card:
    """Return the card of a stored reward model; raise DataError if the folder holds none."""
    if not (folder / "adapter_config.json").is_file():
        raise DataError(f"{folder}: holds no reward model; {MADE}")
    config = adapter_config(folder)
    if config.get("task_type") != "SEQ_CLS" or config.get("modules_to_save") != [HEAD] or not _has_head(folder):
        raise DataError(f"{folder}: holds an adapter without the head of a reward model; {MADE}")
    try:
        return Card.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError):
        raise DataError(f"{folder}: its {CARD} is missing or damaged, so its base is unknown; {MADE}") from None


def _has_head(folder: Path) -> bool:
    weights = folder / "adapter_model.safetensors"
    try:
        with safe_open(weights, framework="np") as tensors:
            return any(name.endswith(f".{HEAD}.weight") for name in tensors.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"{weights}: cannot be read ({error}); name a complete copy") from None


def _require_same(folder: Path, stored: Card, ours: Card) -> None:
    """Raise DataError unless a reward model belongs to the base and the tokenizer in use."""
    for key, what in (("hidden_size", "hidden_size"), ("vocabulary", "vocab_size")):
        theirs, own = getattr(stored, key), getattr(ours, key)
        if theirs != own:
            raise DataError(
                f"{folder}: a reward model on {stored.base}, whose {what} is {theirs}, but {ours.base} has {own}; {MADE} on "
                "this base"
            )
    if stored.tokenizer != ours.tokenizer:
        raise DataError(
            f"{folder}: a reward model of another tokenizer or chat template than {ours.base} has; {MADE} on this base"
        )
    if stored.files != ours.files:
        raise DataError(f"{folder}: a reward model on other weights ({stored.base}) than {ours.base}; {MADE} on this base")


def stored_card(found: Card) -> dict[str, dict[str, object]]:
    """Return the file that a folder with a reward model has besides its adapter."""
    return {CARD: json.loads(found.model_dump_json())}
