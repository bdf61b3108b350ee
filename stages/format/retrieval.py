"""The questions of a split with their best passages, for systems that get a passage in the prompt."""

from collections.abc import Iterable, Sequence

from stages.records import Document, Example, Message
from stages.text.bm25 import BM25


def with_passages(examples: Iterable[Example], passages: Sequence[Document]) -> list[Example]:
    """Return the questions, each with its best passage below; the first parent is the original, by which it is scored."""
    index = BM25(passages)
    found = []
    for example in examples if passages else ():
        *before, question, answer = example.messages
        passage = index.best(question.content)
        shown = Message(role="user", content=f"{question.content}\n{passage.text}")
        changed = {"messages": (*before, shown, answer), "parents": (example.id, passage.id)}
        found.append(Example.model_validate(example.model_dump(exclude={"id"}) | changed))
    return found
