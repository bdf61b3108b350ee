"""Audit of the training data: lengths, supervised tokens, truncated and dropped rows, answers that end and can be written."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from stages.errors import DataError
from stages.figures.rows import SplitAudit
from stages.params import Format
from stages.records import Example, Message
from stages.spool import Spool
from stages.text import chat, roundtrip
from stages.text.marking import marked, pieces
from stages.text.prompts import with_shots
from stages.text.turns import has_control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger(__name__)


def fit(
    splits: Mapping[str, Iterable[Example]], tokenizer: "PreTrainedTokenizerBase", limits: Format
) -> tuple[dict[str, Spool[Example]], dict[str, SplitAudit]]:
    """Apply the policies for overlong rows and unknown tokens to train and valid, and count; test rows are never dropped.

    Raise DataError if the policy is `fail` and a row is too long, if no train row is left, or if a row trains on nothing or on
    an answer without an end. Raise it also if the tokenizer loses a larger share of the answers than limits.max_lost.
    """
    fitted, figures = {}, {}
    for split, examples in splits.items():
        policy = "keep" if split == "test" else limits.overlong
        fitted[split], figures[split] = _fit_split(split, examples, tokenizer, limits, policy)
    if not fitted["train"]:
        raise DataError(
            f"format: no train rows left of {figures['train'].dropped} (dropped as longer than format.max_length = "
            f"{limits.max_length}, or removed as overlapping); raise it, set format.overlap_ngram=null or add data"
        )
    return fitted, figures


def _fit_split(
    split: str, examples: Iterable[Example], tokenizer: "PreTrainedTokenizerBase", limits: Format, policy: str
) -> tuple[Spool[Example], SplitAudit]:
    kept, distinct = Spool(Example), set[int]()
    tokens, supervised, longest, ends, cut, dropped, control = 0, 0, 0, 0, 0, 0, 0
    first_lost: tuple[str, str] | None = None
    lost, layout_lost, unknown, unknown_prompts, longest_answer = 0, 0, 0, 0, 0
    stops, max_length = set(chat.stop_ids(tokenizer)), limits.max_length
    for example in examples:
        sequences = chat.encode(tokenizer, example.messages)
        longest = max(longest, *(sequence.length for sequence in sequences))
        row = f"format: {split} row {example.id} (source {example.source})"
        if any(sequence.length > max_length for sequence in sequences):
            if policy == "fail":
                raise DataError(f"{row} exceeds format.max_length = {max_length}; raise it or choose format.overlong=drop")
            if policy == "drop":
                dropped += 1
                continue
        _refuse_endless(row, sequences, stops, tokenizer)
        longest_answer = max(longest_answer, len(sequences[-1].answers[-1]))
        pairs = roundtrip.pairs(tokenizer, example.messages, sequences)
        if changed := roundtrip.lost(pairs):
            lost, first_lost = lost + 1, first_lost or changed[0]
        layout_lost += roundtrip.loses_layout(pairs)
        is_unknown = {tokenizer.unknown} & {label for sequence in sequences for label in sequence.labels}
        unknown += bool(is_unknown)
        if is_unknown and policy != "keep":
            continue
        if policy == "truncate" and any(sequence.length > max_length for sequence in sequences):
            cut += 1
            sequences = [chat.truncated(sequence, max_length) for sequence in sequences]
        if not sum(sequence.supervised for sequence in sequences):
            raise DataError(
                f"{row} would train on nothing: its prompt alone fills format.max_length = {max_length}; raise it or choose "
                "format.overlong=drop"
            )
        _refuse_unread(row, sequences, tokenizer)
        kept.append(_written(example, tokenizer))
        distinct.add(hash((example.messages, example.kind)))
        control += has_control_tokens(tokenizer, example.messages)
        unknown_prompts += any(tokenizer.unknown in sequence.input_ids for sequence in sequences) and not is_unknown
        tokens += sum(len(sequence.input_ids) for sequence in sequences)
        supervised += sum(sequence.supervised for sequence in sequences)
        ends += all(sequence.labels[-1] in stops for sequence in sequences)
    found = SplitAudit(
        rows=len(kept),
        tokens=tokens,
        supervised_tokens=supervised,
        longest=longest,
        longest_answer=longest_answer,
        truncated=cut,
        dropped=dropped,
        duplicates=len(kept) - len(distinct),
        control_tokens=control,
        lost=lost,
        unknown=unknown,
        unknown_prompts=unknown_prompts,
        layout_lost=layout_lost,
        end_supervised=round(ends / len(kept), 6) if kept else 0.0,
    )
    _warn(split, found, tokenizer, first_lost, limits.max_lost)
    return kept, found


def _written(example: Example, tokenizer: "PreTrainedTokenizerBase") -> Example:
    """Return a row whose answer calls tools with that answer as the model writes it, which scores compare with."""
    if not example.messages[-1].tool_calls:
        return example
    text = roundtrip.decoded(tokenizer, chat.answer_ids(tokenizer, example.messages)).strip()
    return Example.model_validate(example.model_dump(exclude={"id"}) | {"written": text})


def _refuse_endless(row: str, sequences: Sequence[chat.Encoded], stops: set[int], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise DataError if a turn ends with another token than an answer does: the model would learn not to stop."""
    for end in (ids[-1] for sequence in sequences for ids in sequence.answers):
        if end not in stops:
            wrong, right = (tokenizer.convert_ids_to_tokens(ids) for ids in (end, sorted(stops)))
            raise DataError(
                f"{row}: the chat template ends its answer with {wrong!r}, but ends others with {' or '.join(right)}, so the "
                "model would not learn to stop; leave such rows out or name a template in model.chat_template"
            )


def _refuse_unread(row: str, sequences: Sequence[chat.Encoded], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise DataError if a row is longer than the model can read, or has a token that the model lacks."""
    length = max(sequence.length for sequence in sequences)
    if tokenizer.positions and length > tokenizer.positions:
        raise DataError(
            f"{row} has {length} tokens, but the model reads {tokenizer.positions} (max_position_embeddings); leave it out, "
            f"choose another model or, unless it is a test row, set format.max_length={tokenizer.positions}"
        )
    most = max(token for sequence in sequences for token in (*sequence.input_ids, *sequence.labels))
    if tokenizer.embeddings and most >= tokenizer.embeddings:
        raise DataError(
            f"{row} has the token {tokenizer.convert_ids_to_tokens(most)!r} of number {most}, but the model has "
            f"{tokenizer.embeddings} tokens; the tokenizer belongs to another model or was extended without it"
        )


def warn_of_long_answers(audits: Mapping[str, SplitAudit], max_new_tokens: int) -> None:
    """Warn of references that are longer than an answer may be."""
    for split in ("valid", "test"):
        if (longest := audits[split].longest_answer) > max_new_tokens:
            log.warning(
                "%s: the longest reference has %d tokens, more than predict.max_new_tokens = %d, so no answer can equal it; "
                "raise that option",
                split,
                longest,
                max_new_tokens,
            )


def require_room(
    examples: Iterable[Example], shots: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", max_new_tokens: int
) -> None:
    """Raise DataError if a long prompt after these examples leaves no room in the model for an answer."""
    if not tokenizer.positions:
        return
    example = max(examples, key=_size, default=None)
    if not example:
        return
    prompt = len(chat.prompt_ids(tokenizer, with_shots(example.prompt, shots)))
    room = tokenizer.positions - (0 if tokenizer.encoder_decoder else max_new_tokens)
    if prompt > room or max_new_tokens > tokenizer.positions:
        examples_too = f", with {sum(turn.role == 'assistant' for turn in shots)} examples (predict.shots)" if shots else ""
        raise DataError(
            f"format: the prompt of row {example.id} (source {example.source}) has {prompt} tokens{examples_too}, but the "
            f"model reads {max(room, 0)} besides predict.max_new_tokens = {max_new_tokens}; lower these, shorten the row or "
            "choose another model"
        )


def _size(example: Example) -> int:
    return sum(len((turn.content + turn.tools).encode()) for turn in example.prompt)


def _warn(
    split: str,
    audit: SplitAudit,
    tokenizer: "PreTrainedTokenizerBase",
    first_lost: tuple[str, str] | None,
    max_lost: float,
) -> None:
    """Report what the tokenizer makes of the texts; raise DataError if it loses too many answers."""
    rows = audit.rows + (audit.unknown if split != "test" else 0)
    if control := audit.control_tokens:
        log.warning(
            "%s: %d of %d rows hold control tokens of the model as text; they are encoded as text", split, control, rows
        )
    if unread := audit.unknown_prompts:
        log.warning("%s: %d of %d rows have unknown tokens in the prompt, which the model cannot read", split, unread, rows)
    if changed := audit.layout_lost:
        log.warning("%s: the model writes %d of %d answers without their line ends or indentation", split, changed, rows)
    if first_lost:
        left_out = f"; {audit.unknown} rows with unknown tokens were left out" if audit.unknown and split != "test" else ""
        what = f"{split}: {roundtrip.losses(tokenizer, audit.lost, first_lost, rows)}"
        if audit.lost > max_lost * rows:
            raise DataError(f"format: {what}; choose another model, change these rows or raise format.max_lost = {max_lost:g}")
        log.warning("%s", what + left_out)


def trained_on(examples: Iterable[Example], tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a few examples as the model sees them; ⟦ and ⟧ enclose the text that is trained on."""
    pages = []
    for example in examples:
        for sequence in chat.encode(tokenizer, example.messages):
            pages.append(f"# {example.id}\n{marked(pieces(sequence, tokenizer))}\n")
    return "\n".join(pages)
