"""The before/after examples and the list of errors: which are shown, and how an answer is compared with its reference."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rapidfuzz.distance import LCSseq

from stages.files import printable
from stages.formatting import clip
from stages.records import Example, Message, Prediction
from stages.report import right
from stages.report.item_scores import Table
from stages.text.objects import parsed, same

LONGEST = 1000  # characters of an answer compared in the list of errors
LONGEST_SHOWN = 10_000  # characters of a text in a before/after example
MOST_PAIRS = 50_000  # equal words of answer and reference up to which difflib, which takes cubic time, aligns them
MOST_STEPS = 1_000_000  # words that difflib may look at; an ordinary answer of 10,000 characters needs a tenth
FAILURES = 2  # always shown if there are any: a page of successes alone would mislead
WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|\s+|.", re.DOTALL)  # Chinese and Japanese by character


def choose(table: Table, base: str, tuned: str, headline: str, count: int, seed: int) -> list[tuple[int, str]]:
    """Draw rows to show with `seed`; return each with its outcome, in the order of the split.

    First at most two rows that the tuned model gets wrong, then rows that only the base system got wrong, then any others.
    right.answers decides.
    """
    order = np.random.default_rng(seed).permutation(len(table.ids)).tolist()
    before, after = right.answers(table, base, headline), right.answers(table, tuned, headline)
    failed = [row for row in order if not after[row]][: min(FAILURES, count)]
    fixed = [row for row in order if after[row] and not before[row]]
    taken = {*failed, *fixed}
    others = [row for row in order if row not in taken]
    rows = sorted([*failed, *fixed, *others][:count])
    return [(row, _outcome(bool(before[row]), bool(after[row]))) for row in rows]


def _outcome(before: bool, after: bool) -> str:
    if after:
        return "right before and after" if before else "fixed"
    return "broken" if before else "still wrong"


def compare(example: Example, base: Prediction, tuned: Prediction) -> dict[str, Any]:
    """Return one example as the page shows it: by field where the reference is a JSON object, else by word."""
    reference, answers = example.reference, {"base": base.text, "tuned": tuned.text}
    expected = parsed(reference) if example.kind == "extraction" else None
    objects = {side: parsed(text) if expected else None for side, text in answers.items()}
    return {
        "id": example.id,
        "prediction": tuned.id,
        "source": example.source,
        "slices": example.slices,
        "prompt": [(turn.role, printable(_text(turn))) for turn in example.prompt if turn.role != "system"],
        "reference": _clipped(reference),
        "stopped": {"base": base.stopped, "tuned": tuned.stopped},
        "fields": _fields(expected, objects) if expected else None,
        "unparsed": {side: _clipped(text) for side, text in answers.items() if expected and objects[side] is None},
        "words": None if expected else {side: marked(_clipped(text), _clipped(reference)) for side, text in answers.items()},
    }


def _text(turn: Message) -> str:
    """Return the text of a turn and the tools that it calls."""
    return "\n".join(filter(None, [turn.content, *(f"{call.name}({call.arguments})" for call in turn.tool_calls)]))


def _fields(expected: dict[str, Any], objects: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Return the reference's fields, then those that only an answer has; a side is None where its answer does not parse."""
    names = dict.fromkeys([*expected, *(name for answer in objects.values() for name in answer or {})])
    rows: list[dict[str, Any]] = []
    for name in names:
        row: dict[str, Any] = {"name": printable(name), "reference": _shown(expected, name)}
        for side, answer in objects.items():
            right = answer is not None and name in answer and name in expected and same(answer[name], expected[name])
            row[side] = None if answer is None else {"right": right, "words": marked(_shown(answer, name), row["reference"])}
        rows.append(row)
    return rows


def _shown(answer: dict[str, Any], name: str) -> str:
    if name not in answer:
        return "(no such field)"
    value = answer[name]
    return _clipped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def marked(answer: str, reference: str) -> list[tuple[str, str]]:
    """Return the answer in pieces: `same` as in the reference, `extra`, or `missing` where only the reference has it."""
    mine, theirs = WORDS.findall(answer), WORDS.findall(reference)
    pieces, there = [], Counter(theirs)
    aligned: Sequence[tuple[str, int, int, int, int]]
    try:
        if sum(there[word] for word in mine) > MOST_PAIRS:
            raise TimeoutError
        aligned = _Bounded(None, theirs, mine, autojunk=False).get_opcodes()  # longer runs, easier to read
    except TimeoutError:
        aligned = [(op.tag, op.src_start, op.src_end, op.dest_start, op.dest_end) for op in LCSseq.opcodes(theirs, mine)]
    for tag, left, to_left, start, end in aligned:
        if tag in ("replace", "delete"):
            pieces.append(("".join(theirs[left:to_left]), "missing"))
        if end > start:
            pieces.append(("".join(mine[start:end]), "same" if tag == "equal" else "extra"))
    return pieces


class _Bounded(difflib.SequenceMatcher[str]):
    """Raises TimeoutError after MOST_STEPS: where words alternate, each of them is searched in all of the others."""

    steps = 0

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> difflib.Match:
        self.steps += (ahi or 0) - alo
        if self.steps > MOST_STEPS:
            raise TimeoutError
        return super().find_longest_match(alo, ahi, blo, bhi)


def _clipped(text: str) -> str:
    return clip(printable(text), LONGEST_SHOWN)


def before_after(
    table: Table,
    examples: Sequence[Example],
    predictions: dict[str, dict[str, Prediction]],
    base: str,
    chosen: list[tuple[int, str]],
    after: str,
) -> list[dict[str, Any]]:
    """Return the chosen rows as the page shows them, with the answers of the systems `base` and `after`."""
    return [
        {"outcome": outcome, **compare(examples[row], predictions[base][table.ids[row]], predictions[after][table.ids[row]])}
        for row, outcome in chosen
    ]


def wrong(table: Table, tuned: str, headline: str) -> list[int]:
    """Return the rows on which some metric of the tuned answers is below 1, the lowest headline first."""
    below = np.any(table.values[tuned] < 1, axis=1)  # False where a metric does not apply
    worst_first = np.argsort(table.column(tuned, headline), kind="stable")
    return worst_first[below[worst_first]].tolist()


def errors(
    table: Table, examples: Sequence[Example], answers: dict[str, Prediction], tuned: str, rows: Sequence[int]
) -> list[dict[str, Any]]:
    """Return these rows as the page lists them; comparing an answer with its reference is slow, so not for all wrong rows."""
    return [
        {
            "id": table.ids[row],
            "source": table.sources[row],
            "slices": table.slices[row],
            "metrics": [metric for metric, value in zip(table.metrics, table.values[tuned][row], strict=True) if value < 1],
            "prompt": printable(examples[row].prompt[-1].content),
            "words": marked(*(printable(text)[:LONGEST] for text in (answers[table.ids[row]].text, examples[row].reference))),
        }
        for row in rows
    ]
