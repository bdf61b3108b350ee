"""For an answer that went wrong: the training examples nearest to its question, and what those were made from."""

from collections.abc import Mapping, Sequence
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import Indel

from stages import lineage
from stages.evaluate.words import tokens
from stages.records import Example

SOURCES = 3  # shown of each training example
FIRST = 0xE000  # of the characters that stand for tokens: behind the surrogates, which are no characters


class Nearest:
    """Training examples by how near their last questions come to another one's, in ROUGE-L F1."""

    def __init__(self, train: Sequence[Example], records: Mapping[str, dict[str, Any]]) -> None:
        self.train, self.records = sorted(train, key=lambda row: row.id), records
        self._letters: dict[str, str] = {}
        self._questions = [self._encoded(row) for row in self.train]

    def to(self, example: Example, count: int) -> list[dict[str, Any]]:
        """The `count` nearest, each with its sources."""
        found = process.extract(self._encoded(example), self._questions, scorer=Indel.normalized_similarity, limit=count)
        return [
            {
                "id": self.train[place].id,
                "similarity": round(similarity, 3),
                "question": self.train[place].prompt[-1].content,
                "answer": self.train[place].reference,
                "sources": [_source(self.records[id]) for id in lineage.sources(self.train[place].id, self.records)[:SOURCES]],
            }
            for _, similarity, place in found
        ]

    def _encoded(self, example: Example) -> str:
        """A character a token: then the similarity of Indel, 2·LCS / (m + n), is ROUGE-L's F1."""
        return "".join(
            self._letters.setdefault(token, chr(len(self._letters) + FIRST)) for token in tokens(example.prompt[-1].content)
        )


def _source(record: dict[str, Any]) -> dict[str, str]:
    fact = " ".join(record[key] for key in ("subject", "relation", "object") if key in record)
    return {
        "id": record["id"],
        "source": record.get("source", ""),
        "text": record.get("text") or fact or record.get("output", ""),
    }
