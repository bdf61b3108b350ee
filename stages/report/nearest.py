"""The training examples nearest to the question of a wrong answer, and what they were made from."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages import lineage
from stages.records import Example
from stages.text.rouge import RougeL
from stages.text.words import tokens

SOURCES = 3  # shown of each training example


class Nearest:
    """Training examples ranked by the ROUGE-L F1 of their last question with another one."""

    def __init__(self, train: Sequence[Example], records: Mapping[str, dict[str, Any]]) -> None:
        self.train, self.records = sorted(train, key=lambda row: row.id), records
        self.questions = RougeL(tokens, [row.prompt[-1].content for row in self.train])

    def to(self, example: Example, count: int) -> list[dict[str, Any]]:
        """Return the `count` nearest, each with its sources."""
        found = self.questions.nearest(example.prompt[-1].content, count)
        return [{"similarity": round(match.f1, 3), **self._shown(self.train[match.place])} for match in found]

    def _shown(self, row: Example) -> dict[str, Any]:
        sources = [_source(self.records[id]) for id in lineage.sources(row.id, self.records)[:SOURCES]]
        return {"id": row.id, "question": row.prompt[-1].content, "answer": row.reference, "sources": sources}


def _source(record: dict[str, Any]) -> dict[str, str]:
    fact = " ".join(record[key] for key in ("subject", "relation", "object") if key in record)
    return {
        "id": record["id"],
        "source": record.get("source", ""),
        "text": record.get("text") or fact or record.get("output", ""),
    }
