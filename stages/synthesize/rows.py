"""Training rows from the kept pairs of Self-QA: without a passage, with one, and questions to decline.

A question with a passage has the one that retrieval finds for it, as the questions of a test have. What such a row answers
depends on the passage alone: the answer if it is there, else to decline, even where a row without a passage answers it.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee, zip_longest
from typing import TypeVar

from stages.params import DocumentsData, SelfQa, Shares
from stages.records import UNANSWERABLE, Document, Task
from stages.slices import OUT_OF_DOMAIN
from stages.synthesize import rules
from stages.synthesize.pairs import QaPair, grounded, key, self_contained, stems
from stages.text.bm25 import BM25
from stages.text.passages import headings, is_cjk

WRONG = (UNANSWERABLE, "with_passage")
T = TypeVar("T")


def tasks(
    kept: Sequence[QaPair],
    index: BM25,
    others: Sequence[Document],
    data: DocumentsData,
    options: SelfQa,
    rng: random.Random,
) -> list[Task]:
    """Return rows in the set shares; all passages give their first pair before any second one, so a limit skips none.

    `index` holds all passages. `others` are questions about other things than the documents. Without them, their share goes to
    rows without a passage.
    """
    shares = options.shares
    plain = _plain(shares, bool(others))
    chosen = _in_turns(kept)[: None if options.rows is None else round(plain * options.rows)]
    total = len(chosen) / plain

    def task(pair: QaPair, sorts: tuple[str, ...], question: str, answer: str, passage: Document | None = None) -> Task:
        return Task(
            kind="text",
            system=data.system,
            instruction=question,
            input=passage.text if passage else "",
            output=answer,
            source=pair.passage.source,
            slices=(*sorts, pair.generator),
            parents=(pair.document.id, *([passage.id] if passage else [])),
        )

    found, also = tee((pair, index.best(pair.question)) for pair in rng.sample(chosen, len(chosen)))
    shown = list(islice((pair for pair, passage in found if passage == pair.passage), round(total * shares.with_passage)))
    unanswerable = _unanswerable(kept, index.passages, rng)
    declined = list(islice(unanswerable, round(total * shares.unanswerable)))
    outside = rng.sample(others, min(len(others), round(total * shares.out_of_domain)))
    wrong = _alternating(
        (task(pair, WRONG, pair.question, data.decline, passage) for pair, passage in also if _lacks(passage, pair)),
        (task(pair, WRONG, question, data.decline, index.best(question)) for pair, question in unanswerable),
        (_outside(question, data, index.best(question.text)) for question in rng.sample(others, len(others))),
    )
    return [
        *(task(pair, ("closed_book",), pair.question, pair.answer or "") for pair in chosen),
        *(task(pair, ("with_passage",), pair.question, pair.answer or "", pair.passage) for pair in shown),
        *(task(pair, (UNANSWERABLE,), question, data.decline) for pair, question in declined),
        *(_outside(question, data) for question in outside),
        *islice(wrong, round(total * shares.wrong_passage)),
    ]


def _plain(shares: Shares, others: bool) -> float:
    """Return the share of the rows that are answered without a passage; `others` are questions about other things."""
    return 1 - shares.with_passage - shares.unanswerable - shares.wrong_passage - (shares.out_of_domain if others else 0)


def lacking(made: Sequence[Task], shares: Shares) -> str:
    """Return a sentence if the rows hold less than half of the unanswerable questions that `shares` asks for, else ""."""
    without = [task for task in made if not task.input]
    found, outside = (sum(sort in task.slices for task in without) for sort in (UNANSWERABLE, OUT_OF_DOMAIN))
    total = (len(without) - found - outside) / _plain(shares, bool(outside))
    wanted = round(total * shares.unanswerable)
    if 2 * found >= wanted:
        return ""
    return (
        f"self_qa made {found} of {wanted} questions that no document answers, because the documents have too few subjects or "
        "headings to exchange: the model will answer what they do not say. Put headings into them, or split them by subject."
    )


def _outside(question: Document, data: DocumentsData, passage: Document | None = None) -> Task:
    return Task(
        kind="text",
        system=data.system,
        instruction=question.text,
        input=passage.text if passage else "",
        output=data.decline,
        source=question.source,
        slices=(OUT_OF_DOMAIN, *(["with_passage"] if passage else []), "authored"),
        parents=(question.id, *([passage.id] if passage else [])),
    )


def _lacks(passage: Document, pair: QaPair) -> bool:
    """Return whether a passage lacks the words of a pair's answer; one that has them may answer it as well as its own."""
    return grounded(pair.answer or "", passage.text) is not None


def _alternating(*groups: Iterable[T]) -> Iterator[T]:
    """Yield the first of each group, then the second of each that has one, and so on."""
    return (item for turn in zip_longest(*groups) for item in turn if item is not None)


def _in_turns(kept: Sequence[QaPair]) -> list[QaPair]:
    ranks: defaultdict[str, int] = defaultdict(int)
    ranked = []
    for pair in kept:
        ranked.append((ranks[pair.passage.id], pair))
        ranks[pair.passage.id] += 1
    return [pair for _, pair in sorted(ranked, key=lambda item: item[0])]


def _unanswerable(kept: Sequence[QaPair], passages: Sequence[Document], rng: random.Random) -> Iterator[tuple[QaPair, str]]:
    """Yield questions about things that only other subjects have and that no document states, in turn, with their pairs."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for passage in passages:
        texts[headings(passage)[0]].append(passage.text.lower())
    statements = {subject: "\n".join(found) for subject, found in texts.items()}
    content = {subject: stems(text) for subject, text in statements.items()}
    mixed = rng.sample(kept, len(kept))
    elsewhere = ((pair, rng.choice(found)) for pair in mixed if (found := _elsewhere(pair, content)))
    nowhere = ((pair, rng.choice(found)) for pair in mixed if (found := _nowhere(pair, statements[pair.subject])))
    asked = {key(pair.question) for pair in kept}
    for pair, question in _alternating(elsewhere, nowhere):
        if key(question) not in asked and not self_contained(question, set()):
            asked.add(key(question))
            yield pair, question


def _elsewhere(pair: QaPair, content: dict[str, set[str]]) -> list[str]:
    """Return the pair's question about its thing, asked of subjects whose documents hold no rare word of the thing.

    A thing of several words needs two rare ones. A word is rare in the documents of at most a third of the subjects; a more
    common one may have synonyms there.
    """
    things = [label for label in rules.labels(pair.passage) if label.lower() in pair.question.lower()]
    words_of_it = stems(max(things, key=len, default="")) - stems(pair.subject)
    rare = {word for word in words_of_it if sum(word in there for there in content.values()) <= max(1, len(content) // 3)}
    if pair.subject not in pair.question or not rare or len(rare) < min(2, len(words_of_it)):
        return []
    return [
        pair.question.replace(pair.subject, other)
        for other, there in content.items()
        if rare.isdisjoint(there) and is_cjk(other) == is_cjk(pair.question)  # words of another language are always missing
    ]


def _nowhere(pair: QaPair, text: str) -> list[str]:
    return [question for label in rules.labels(pair.passage) for question in rules.unsaid(pair.subject, label, text)]
