"""Examine whether rows, answers and named weights fit the model, before a teacher is asked."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from stages.errors import DataError
from stages.models import pretrained
from stages.params import Format, Params
from stages.records import Task
from stages.text import chat
from stages.text.prompts import answered, question

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def require_room(tokenizer: "PreTrainedTokenizerBase", tasks: Iterable[Task], max_new_tokens: int) -> None:
    """Raise DataError if the longest prompt leaves no room for an answer; `format` adds the examples of predict.shots."""
    if not tokenizer.positions:
        return
    room = tokenizer.positions - (0 if tokenizer.encoder_decoder else max_new_tokens)
    if room <= 0 or max_new_tokens > tokenizer.positions:
        raise DataError(
            f"predict.max_new_tokens = {max_new_tokens}: the model reads and writes {tokenizer.positions} tokens "
            "(max_position_embeddings), prompt and answer together; lower it"
        )
    longest = max(tasks, key=lambda task: len(f"{task.system}{task.history}{task.instruction}{task.input}"), default=None)
    if longest and (length := len(chat.prompt_ids(tokenizer, question(longest)))) > room:
        raise DataError(
            f"predict.max_new_tokens = {max_new_tokens}: the prompt of row {longest.id} (source {longest.source}) has {length} "
            f"tokens, but the model reads {room} besides; lower it, shorten the row or choose another model"
        )


def require_length(tokenizer: "PreTrainedTokenizerBase", tasks: Sequence[Task], limits: Format) -> None:
    """Raise DataError if `format` would keep none of these training rows, since they are too long."""
    lengths = [min(_needed(tokenizer, task, limits)) for task in tasks]
    if lengths and (shortest := min(lengths)) > limits.max_length:
        what = "prompt" if limits.overlong == "truncate" else "row"
        raise DataError(
            f"format.max_length = {limits.max_length}: no training row of the {len(lengths)} that were looked at fits, the "
            f"shortest {what} has {shortest} tokens; raise it"
        )


def _needed(tokenizer: "PreTrainedTokenizerBase", task: Task, limits: Format) -> list[int]:
    """Return the tokens that a limit must leave of each sequence of a row: all, or if it is cut, those before its answer."""
    sequences = chat.encode(tokenizer, answered(task))
    if limits.overlong != "truncate":
        return [max(sequence.length for sequence in sequences)]
    return [next(n for n, label in enumerate(s.labels, start=1) if label != chat.IGNORE) for s in sequences if s.supervised]


def require_decoder(tokenizer: "PreTrainedTokenizerBase", p: Params) -> None:
    """Raise DataError if an encoder-decoder model is to be trained on whole documents."""
    if tokenizer.encoder_decoder and p.pretrain.type == "documents":
        raise DataError(
            "pretrain.type = documents: an encoder-decoder model needs spans to fill in, not whole texts; use pretrain=none or "
            "a decoder"
        )


def require_weights(folder: Path, p: Params) -> None:
    """Raise DataError that lists the names there are, unless each module or weight that training names is one.

    The model is built without weights, from its configuration.
    """
    section, chosen = ("lora", p.lora) if p.adapter.type == "lora" else ("adapter", p.adapter)
    modules = getattr(chosen, "target_modules", None)
    patterns = p.adapter.trainable if p.adapter.type == "selective" else None
    if p.train.start or not (isinstance(modules, list) or patterns):
        return
    model = _without_weights(folder)
    names = [name for name, _ in model.named_parameters()]
    if lost := [pattern for pattern in patterns or () if not any(fnmatch(name, pattern) for name in names)]:
        raise DataError(f"adapter.trainable: no weight is called {' or '.join(lost)}; names are like {', '.join(names[1:4])}")
    linear = _linear(model)
    if lost := [part for part in modules or () if not any(f".{name}".endswith(f".{part}") for name in linear)]:
        last = dict.fromkeys(name.rpartition(".")[2] for name in linear)
        raise DataError(
            f"{section}.target_modules = {modules}: no linear layer is called {' or '.join(lost)}; there are {', '.join(last)}"
        )


def _without_weights(folder: Path) -> "PreTrainedModel":
    config = pretrained.config(folder)
    config._attn_implementation = "sdpa"  # as in pretrained.model
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        return kind.from_config(config)


def _linear(model: "PreTrainedModel") -> list[str]:
    """Return the names of the modules that hold matrices, besides embeddings and head."""
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    matrices = [
        (name, module) for name, module in model.named_modules() if getattr(getattr(module, "weight", None), "ndim", 0) >= 2
    ]
    others = [(name, m) for name, m in matrices if not isinstance(m, torch.nn.Embedding) and all(m is not end for end in ends)]
    return [name for name, _ in others]
