"""Read a GGUF file back and compare it with the model that it was made from, before anybody may use it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from stages.errors import DataError, reason
from stages.models.loading import LanguageModel
from stages.records import Example, Message
from stages.text import chat
from stages.text.turns import has_control_tokens


def check(path: Path, lm: LanguageModel, examples: Sequence[Example]) -> dict[str, Any]:
    """Return what the file holds; raise DataError if vocabulary, end token or chat template are not the model's."""
    reader = GGUFReader(path)

    def value(name: str) -> Any:
        field = reader.fields.get(name)
        return None if field is None else field.contents()

    tokens = value("tokenizer.ggml.tokens") or []
    embedded = {tensor.name: int(tensor.shape[-1]) for tensor in reader.tensors}.get("token_embd.weight")
    rows = lm.model.get_input_embeddings().weight.shape[0]
    if not len(tokens) == embedded == rows:
        raise _differs(f"a vocabulary of {len(tokens)} tokens and {embedded} embeddings, the model {rows}")
    end, ends = value("tokenizer.ggml.eos_token_id"), lm.tokenizer.eos_token_id
    if end != ends or tokens[end] != lm.tokenizer.eos_token:
        raise _differs(f"the end token {end}, the model {ends} ({lm.tokenizer.eos_token})")
    if value("tokenizer.ggml.add_bos_token"):
        raise _differs("a begin token before every text, which no training row has")
    for example in examples:
        if not _alike(str(value("tokenizer.chat_template") or ""), lm, example.prompt):
            raise _differs(f"a chat template that writes the prompt of {example.id} differently")
    return {
        "architecture": value("general.architecture"),
        "parameters": int(sum(tensor.n_elements for tensor in reader.tensors)),
        "vocabulary": len(tokens),
        "eos_token_id": end,
        "pre_tokenizer": value("tokenizer.ggml.pre"),
        "tensor_types": sorted({tensor.tensor_type.name for tensor in reader.tensors}),
    }


def plain(lm: LanguageModel, examples: Sequence[Example]) -> list[Example]:
    """Return the examples whose prompts a server can be sent as they are: no control tokens in texts, no tools."""
    return [
        example
        for example in examples
        if not has_control_tokens(lm.tokenizer, example.prompt)
        and not any(turn.tools or turn.tool_calls or turn.reasoning for turn in example.prompt)
    ]


def _alike(template: str, lm: LanguageModel, prompt: Sequence[Message]) -> bool:
    """Return whether the template alone, with nothing of Tunetrail passed to it, writes the prompt of training."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    turns = [{"role": turn.role, "content": turn.content} for turn in prompt]
    names = {"bos_token": lm.tokenizer.bos_token or "", "eos_token": lm.tokenizer.eos_token}
    try:
        text = _compile_jinja_template(template).render(messages=turns, add_generation_prompt=True, **names)
    except Exception as error:  # what a template computes can raise anything
        raise _differs(f"a chat template that fails ({reason(error)})") from None
    return bool(text == chat.render(lm.tokenizer, prompt, answer_next=True))


def _differs(what: str) -> DataError:
    return DataError(f"--format gguf: the converted file has {what}; no file is kept, use --format folder")
