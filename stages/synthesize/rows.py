"""Training rows from the kept pairs of Self-QA: without the passage, with it, and questions to decline."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest

from stages.params import DocumentsData, SelfQa
from stages.records import UNANSWERABLE, Document, Task
from stages.slices import OUT_OF_DOMAIN
from stages.synthesize import rules
from stages.synthesize.pairs import QaPair, grounded, key, self_contained, stems
from stages.text.passages import headings, is_cjk


def tasks(
    kept: Sequence[QaPair],
    passages: Sequence[Document],
    others: Sequence[Document],
    data: DocumentsData,
    options: SelfQa,
    rng: random.Random,
) -> list[Task]:
    """Return rows in the set shares; all passages give their first pair before any second one, so a limit skips none.

    `others` are questions about other things than the documents. Without them, their share goes to rows without a passage.
    """
    shares = options.shares
    plain = 1 - shares.with_passage - shares.unanswerable - shares.wrong_passage - (shares.out_of_domain if others else 0)
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

    shown = rng.sample(chosen, min(len(chosen), round(total * shares.with_passage)))
    declined = list(islice(_unanswerable(kept, passages, rng), round(total * shares.unanswerable)))
    misled = list(islice(_with_wrong_passage(chosen, passages, rng), round(total * shares.wrong_passage)))
    outside = rng.sample(others, min(len(others), round(total * shares.out_of_domain)))
    return [
        *(task(pair, ("closed_book",), pair.question, pair.answer or "") for pair in chosen),
        *(task(pair, ("with_passage",), pair.question, pair.answer or "", pair.passage) for pair in shown),
        *(task(pair, (UNANSWERABLE,), question, data.decline) for pair, question in declined),
        *(task(pair, (UNANSWERABLE, "with_passage"), pair.question, data.decline, other) for pair, other in misled),
        *(_outside(question, data) for question in outside),
    ]


def _outside(question: Document, data: DocumentsData) -> Task:
    return Task(
        kind="text",
        system=data.system,
        instruction=question.text,
        output=data.decline,
        source=question.source,
        slices=(OUT_OF_DOMAIN, "authored"),
        parents=(question.id,),
    )


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
    for pair, question in (each for both in zip_longest(elsewhere, nowhere) for each in both if each):
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


def _with_wrong_passage(
    chosen: Sequence[QaPair], passages: Sequence[Document], rng: random.Random
) -> Iterator[tuple[QaPair, Document]]:
    """Yield pairs with a passage about another subject that does not hold the answer."""
    for pair in rng.sample(chosen, len(chosen)):
        other = rng.choice(passages)
        if headings(other)[0] != pair.subject and grounded(pair.answer or "", other.text):
            yield pair, other
