"""`tunetrail show`: rows as the model sees them, what it is trained on, and what the audit of `format` found."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text

from stages import figures, formatting, params
from stages.commands import outputs
from stages.errors import DataError
from stages.figures.rows import Audit
from stages.files import unchanged
from stages.format import chats
from stages.models import sources
from stages.models.manifest import MANIFEST, read_manifest
from stages.records import Example, Task, read
from stages.terminal import visible
from stages.text import chat
from stages.text.marking import marked, pieces
from stages.text.turns import has_control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RAW, SYNTHETIC, FORMATTED = map(Path, ("data/raw", "data/synthetic", "data/formatted"))
CORRECTIONS = Path("data/feedback/tasks.jsonl")
SPLITS = ("train", "valid", "test", "shots")
LEFT_OUT, TRAINED = "left out of", "bold green"
INDENT = "    "  # of a row's text, so that none of its lines can be taken for a heading or for the audit
POLICIES = {"drop": "dropped", "truncate": "cut there", "fail": "refused", "keep": "kept"}


class Run(NamedTuple):
    """What rows are read and judged with."""

    tokenizer: "PreTrainedTokenizerBase"
    limits: params.Format
    audit: Audit
    methods: Sequence[str]
    train: params.Train


def show(split: str, count: int, id: str | None) -> None:
    """Print the first rows of a split and its audit, or the row with this id of any split."""
    with unchanged(params.PARAMS, FORMATTED):
        run = _run()
        if id:
            _print_row(*_found(id, run), run)
            return
        for example in islice(read(FORMATTED / f"{split}.jsonl", Example), count):
            _print_row(split, example, run)
        for line in _summary(split, count, run):
            print(visible(line))


def _run() -> Run:
    p = params.read("format", "synthesis.methods", "train")
    outputs.require(MANIFEST, FORMATTED / "audit.json", *(FORMATTED / f"{split}.jsonl" for split in SPLITS))
    from stages.models.tokenizer import load_tokenizer  # transformers imports torch

    audit = figures.read(FORMATTED / "audit.json", Audit)
    tokenizer = load_tokenizer(sources.ensure(read_manifest()))
    if chat.rendering_hash(tokenizer) != audit.rendering:
        raise DataError(f"{FORMATTED}: was written for another tokenizer or chat template than {MANIFEST} has; run `dvc repro`")
    return Run(tokenizer, p.format, audit, p.synthesis.methods, p.train)


def _found(id: str, run: Run) -> tuple[str, Example]:
    """Return the only row whose id, or that of what it was made from, begins like this, after its split."""
    matches = [(split, row) for split, row in _every(run) if any(one.startswith(id) for one in (row.id, *row.parents))]
    if not matches:
        raise DataError(f"{id}: no row of this run; take an id from `tunetrail show`, the report or its items.jsonl")
    if len(matches) > 1:
        ids = ", ".join(row.id for _, row in matches[:3])
        raise DataError(f"{id}: {len(matches)} rows have an id or a parent like this, e.g. {ids}; give one of these ids")
    return matches[0]


def _every(run: Run) -> Iterator[tuple[str, Example]]:
    for split in SPLITS:
        yield from ((split, row) for row in read(FORMATTED / f"{split}.jsonl", Example))
        yield from ((f"{LEFT_OUT} {split}", row) for row in _left_out(split, run))


def _left_out(split: str, run: Run) -> Iterator[Example]:
    """Yield the rows that format read for a split and did not write."""
    if split not in ("train", "valid"):
        return
    paths = [RAW / f"{split}.jsonl"] if split == "valid" or run.limits.authored else []
    paths += [SYNTHETIC / method / "tasks.jsonl" for method in run.methods] if split == "train" else []
    paths += [CORRECTIONS] if split == "train" and CORRECTIONS.is_file() else []
    outputs.require(*paths)
    written = [FORMATTED / f"{name}.jsonl" for name in (split, "shots")]
    kept = {parent for path in written for row in read(path, Example) for parent in row.parents}
    for path in paths:
        yield from (chats.example(task) for task in read(path, Task) if task.id not in kept)


def _print_row(split: str, example: Example, run: Run) -> None:
    """Print a row: what is trained on in color on a terminal, elsewhere indented, between the marks of trained_on.txt."""
    console = Console(markup=False, emoji=False, highlight=False)
    in_color = console.color_system is not None and not console.no_color
    sequences, notes = _audited(split, example, run)
    for number, sequence in enumerate(sequences, start=1):
        part = f" ({number} of {len(sequences)})" if len(sequences) > 1 else ""
        size = f"{sequence.length:,} tokens, {sequence.supervised:,} supervised"
        head = f"# {example.id}{part}: {split}, {size}; source {' '.join(example.source.split())}"
        head = visible("\n".join([head, *(f"# {note}" for note in notes)]))
        found = pieces(sequence, run.tokenizer)
        if not in_color:
            print(head, textwrap.indent(marked(found), INDENT, lambda line: True), "", sep="\n")
            continue
        console.print(Text(head, style="bold"), soft_wrap=True)
        styled = ((piece.text, TRAINED if piece.is_trained else "") for piece in found)
        console.print(Text.assemble(*styled), soft_wrap=True, end="\n\n")


def _audited(split: str, example: Example, run: Run) -> tuple[list[chat.Encoded], list[str]]:
    """Return the sequences of a row as they are trained on, and what the audit counts it for."""
    limit, notes = run.limits.max_length, []
    sequences = chat.encode(run.tokenizer, example.messages)
    if any(sequence.length > limit for sequence in sequences):
        policy = "keep" if split in ("test", "shots") else run.limits.overlong
        notes.append(f"longer than format.max_length = {limit:,}: {POLICIES[policy]}")
        sequences = [chat.truncated(sequence, limit) for sequence in sequences] if policy == "truncate" else sequences
    elif split.startswith(LEFT_OUT):
        run_of = f" or {run.limits.overlap_ngram} words in sequence" if run.limits.overlap_ngram else ""
        notes.append(f"overlapping: has the prompt{run_of} of a held-out row")
    if has_control_tokens(run.tokenizer, example.messages):
        notes.append("holds control tokens of the model, encoded as text")
    if not all(sequence.labels[-1] in chat.stop_ids(run.tokenizer) for sequence in sequences):
        notes.append("its answer does not end with a token that stops the model")
    return sequences, notes


def _summary(split: str, count: int, run: Run) -> Iterator[str]:
    """Yield the audit of a split in the words of the report's table, and the first rows that were left out."""
    if split in run.audit.splits:
        values = run.audit.splits[split].model_dump()
        shown = {key: f"{formatting.percent(n)} %" if isinstance(n, float) else f"{n:,}" for key, n in values.items()}
        yield f"{split}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())
    if split == "train" and run.train.prompt_loss_weight:
        yield f"train.prompt_loss_weight = {run.train.prompt_loss_weight:g}: prompts are trained on too, with this weight"
    if split not in ("train", "valid"):
        return
    overlapping = sum(run.audit.overlap.values()) if split == "train" else 0
    total = run.audit.splits[split].dropped + overlapping
    yield f"{LEFT_OUT} {split}: {total:,} rows" + (f", {overlapping:,} of them as overlapping" if overlapping else "")
    for row in islice(_left_out(split, run), min(count, total)):
        _, notes = _audited(f"{LEFT_OUT} {split}", row, run)
        yield f"  {row.id}: {'; '.join(notes)}"
