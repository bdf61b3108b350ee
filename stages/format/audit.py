"""Audit of the training data: lengths, supervised tokens, truncated and dropped rows, answers that end."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.errors import DataError
from stages.figures import SplitAudit
from stages.params import Format
from stages.records import Example
from stages.text import chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger(__name__)


def fit(
    splits: dict[str, list[Example]], tokenizer: "PreTrainedTokenizerBase", limits: Format
) -> tuple[dict[str, list[Example]], dict[str, SplitAudit]]:
    """Apply the policy for overlong rows to train and valid, and count; test rows are never dropped.

    Raise DataError if the policy is `fail` and a row is too long, if no train row is left, or if a row trains on nothing.
    """
    fitted, figures = {}, {}
    for split, examples in splits.items():
        policy = "keep" if split == "test" else limits.overlong
        fitted[split], figures[split] = _fit_split(split, examples, tokenizer, limits.max_length, policy)
    if not fitted["train"]:
        raise DataError(
            f"format: no train rows left of {len(splits['train'])} (dropped as longer than format.max_length = "
            f"{limits.max_length}, or removed as overlapping); raise it, set format.overlap_ngram=null or add data"
        )
    return fitted, figures


def _fit_split(
    split: str, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase", max_length: int, policy: str
) -> tuple[list[Example], SplitAudit]:
    kept, tokens, supervised, longest, ends, cut, dropped, control = [], 0, 0, 0, 0, 0, 0, 0
    stops = set(chat.stop_ids(tokenizer))
    for example in examples:
        sequences = chat.encode(tokenizer, example.messages)
        longest = max(longest, *(sequence.length for sequence in sequences))
        if any(sequence.length > max_length for sequence in sequences):
            if policy == "fail":
                raise DataError(
                    f"format: {split} row {example.id} (source {example.source}) exceeds format.max_length = {max_length}; "
                    "raise it or choose format.overlong=drop"
                )
            if policy == "drop":
                dropped += 1
                continue
            if policy == "truncate":
                cut += 1
                sequences = [chat.truncated(sequence, max_length) for sequence in sequences]
        if not sum(sequence.supervised for sequence in sequences):
            raise DataError(
                f"format: {split} row {example.id} (source {example.source}) would train on nothing: its prompt alone fills "
                f"format.max_length = {max_length}; raise it or choose format.overlong=drop"
            )
        kept.append(example)
        control += chat.has_control_tokens(tokenizer, example.messages)
        tokens += sum(len(sequence.input_ids) for sequence in sequences)
        supervised += sum(sequence.supervised for sequence in sequences)
        ends += all(sequence.labels[-1] in stops for sequence in sequences)
    if control:
        log.warning(
            "%s: %d of %d rows hold control tokens of the model as text; they are encoded as text", split, control, len(kept)
        )
    distinct = len({(example.messages, example.kind) for example in kept})
    return kept, SplitAudit(
        rows=len(kept),
        tokens=tokens,
        supervised_tokens=supervised,
        longest=longest,
        truncated=cut,
        dropped=dropped,
        duplicates=len(kept) - distinct,
        control_tokens=control,
        end_supervised=round(ends / len(kept), 6) if kept else 0.0,
    )


def trained_on(examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a few examples as the model sees them; ⟦ and ⟧ enclose the text that is trained on."""
    pages = []
    for example in examples:
        for sequence in chat.encode(tokenizer, example.messages):
            pages.append(f"# {example.id}\n{_marked(sequence, tokenizer)}\n")
    return "\n".join(pages)


def _marked(sequence: chat.Encoded, tokenizer: "PreTrainedTokenizerBase") -> str:
    if sequence.apart:
        return f"{tokenizer.decode(sequence.input_ids)}⟦{tokenizer.decode(sequence.labels)}⟧"
    parts, start = [], 0
    flags = [label != chat.IGNORE for label in sequence.labels]
    for end in range(1, len(flags) + 1):
        if end == len(flags) or flags[end] != flags[start]:
            text = str(tokenizer.decode(sequence.input_ids[start:end]))
            parts.append(f"⟦{text}⟧" if flags[start] else text)
            start = end
    return "".join(parts)
