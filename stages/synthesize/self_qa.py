"""Self-QA (Zhang and Yang 2023, arXiv:2305.11952): questions from passages, answers read from them, filters, rows.

A teacher, rules or both write the pairs. A block of passages passes through all requests before the next block starts, so
that a budget that runs out leaves complete pairs. Hashes of passages decide where blocks end, so that a changed document
moves only the borders near it.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.figures.synthesis import MethodFigures
from stages.params import DocumentsData, SelfQa
from stages.records import Call, Document, Message, Task
from stages.synthesize import rows, rules
from stages.synthesize.diversity import distinct_figures
from stages.synthesize.made import Inputs, Made
from stages.synthesize.pairs import QaPair, Sieve
from stages.teachers.answers import unfinished, unquoted
from stages.teachers.teacher import Ask, Teacher, template
from stages.text.bm25 import BM25
from stages.text.passages import cut, headings, is_cjk

BLOCK = 32  # passages on average
NUMBER = re.compile(r"\s*(?:[-*•]\s+|\d+\s*[.)、:：]\s*|(?:Question|Q|问题)\s*(?:\d+\s*)?[:：.]\s*)*", re.IGNORECASE)


def run(inputs: Inputs, teacher: Teacher, options: SelfQa, seed: int) -> Made:
    """Return the pairs that pass all filters, and at most `options.rows` tasks made of them in the set shares."""
    data = inputs.data
    if not isinstance(data, DocumentsData):
        raise DataError(f"synthesis.methods: self_qa needs documents; data.kind = {data.kind} has none")
    by_document = [cut(document, options.passage) for document in inputs.documents]
    passages = by_rank(by_document)
    sieve = Sieve(passages, data, options)
    kept: list[QaPair] = []
    if options.generator != "teacher":
        written = [
            QaPair(passage, "rules", question, answer)
            for passage in passages
            for question, answer in rules.pairs(passage, options.wordings)
        ]
        kept += sieve.through(written, "self_contained", "grounded", "duplicates")
    if options.generator != "rules":
        kept += _from_teacher(passages, Asker(teacher, options, data), sieve)
    index = BM25([passage for each in by_document for passage in each])
    tasks = rows.tasks(kept, index, inputs.seeds, data, options, random.Random(seed))
    return Made(
        filters=tuple(sieve.filters),
        kept=[pair.document for pair in kept],
        rejected=sieve.rejected,
        tasks=tasks,
        passages=passages,
        figures=_figures(inputs.documents, passages, kept) | _by_form(tasks),
        lacking=rows.lacking(tasks, options.shares),
    )


def by_rank(passages: Sequence[Sequence[Document]]) -> list[Document]:
    """Return the first passage of each document, then the second of each, so that a short budget reaches all documents."""
    ranked = [(rank, passage) for each in passages for rank, passage in enumerate(each)]
    return [passage for _, passage in sorted(ranked, key=lambda pair: pair[0])]


def _from_teacher(passages: Sequence[Document], asker: "Asker", sieve: Sieve) -> list[QaPair]:
    kept = []
    for block in _blocks(passages):
        asked = sieve.through(asker.questions(block), "parsed", "self_contained")
        answered = sieve.through(asker.answers(asked), "parsed", "grounded")
        again = asker.again(answered) if "round_trip" in sieve.filters else answered
        kept += sieve.through(again, "round_trip", "duplicates")
        if asker.teacher.spent:
            break
    return kept


def _blocks(passages: Sequence[Document]) -> Iterator[list[Document]]:
    block = []
    for passage in passages:
        block.append(passage)
        if int(passage.id[-8:], 16) % BLOCK == 0:
            yield block
            block = []
    if block:
        yield block


class Asker:
    """The three requests to the teacher; pairs that the budget no longer covers are left out."""

    def __init__(self, teacher: Teacher, options: SelfQa, data: DocumentsData) -> None:
        self.teacher, self.options, self.data = teacher, options, data
        self.prompts = template(Path(__file__).with_name("self_qa.jinja")).module

    def questions(self, passages: Sequence[Document]) -> list[QaPair]:
        count = self.options.questions
        prompts = [
            self.prompts.questions(p.text, count, headings(p)[0] if self.data.subject else "", is_cjk(p.text)) for p in passages
        ]
        asks = [Ask((_user(prompt),), self.options.question_sampling, follow_ups=2 * count) for prompt in prompts]
        return [
            QaPair(passage, "teacher", question, calls=(call.id,), unfinished=lost)
            for passage, call in self._answered(passages, asks)
            for question, lost in _listed(call)[:count]
        ]

    def answers(self, pairs: Sequence[QaPair]) -> list[QaPair]:
        prompts = [
            self.prompts.answer(pair.passage.text, pair.question, self.data.decline, is_cjk(pair.passage.text))
            for pair in pairs
        ]
        asks = [Ask((_user(prompt),), self.options.answer_sampling, follow_ups=1) for prompt in prompts]
        return [
            replace(
                pair,
                answer=unquoted(call.text.strip()) if call.stopped else "",
                calls=(*pair.calls, call.id),
                unfinished=unfinished(call),
            )
            for pair, call in self._answered(pairs, asks)
        ]

    def again(self, pairs: Sequence[QaPair]) -> list[QaPair]:
        """Ask as the tuned model will be asked, question first and passage below: not the prompt of the first answer."""
        system = Message(role="system", content=self.data.system)
        asks = [Ask((system, _user(f"{pair.question}\n{pair.passage.text}")), self.options.answer_sampling) for pair in pairs]
        return [
            replace(pair, again=call.text, calls=(*pair.calls, call.id), unfinished=unfinished(call))
            for pair, call in self._answered(pairs, asks)
        ]

    def _answered(self, asked: Sequence[Any], asks: Sequence[Ask]) -> list[tuple[Any, Call]]:
        calls = self.teacher.answer(asks)
        return [(item, call) for item, call in zip(asked, calls, strict=True) if call is not None]


def _listed(call: Call) -> list[tuple[str, str | None]]:
    """Return the questions of a reply, one per line, and why the last one is not whole; one empty question if there is none."""
    lines = [line for line in call.text.splitlines() if line.strip()] or [""]
    questions = [unquoted(NUMBER.sub("", line, count=1).strip()) for line in lines]
    return [*((question, None) for question in questions[:-1]), (questions[-1], unfinished(call))]


def _by_form(tasks: Sequence[Task]) -> MethodFigures:
    """Return the number of rows of each form: all slices but the last, which names who wrote the row."""
    return {"rows_by_form": dict(Counter(" ".join(task.slices[:-1]) for task in tasks))}


def _user(prompt: str) -> Message:
    return Message(role="user", content=str(prompt))


def _figures(documents: Sequence[Document], passages: Sequence[Document], kept: Sequence[QaPair]) -> MethodFigures:
    """Return kept pairs per generator, and per document its passages and those that gave a pair."""
    there = Counter(passage.source for passage in passages)
    used = Counter(passage.source for passage in {pair.passage for pair in kept})
    return {
        "pairs": dict(Counter(pair.generator for pair in kept)),
        "passages": len(passages),
        "passages_covered": used.total(),
        "documents": len(documents),
        "documents_covered": len(used),
        **distinct_figures([pair.document.text for pair in kept]),
        "coverage": {
            document.source: {"passages": there[document.source], "covered": used[document.source]} for document in documents
        },
    }
