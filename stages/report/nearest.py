"""For an answer that went wrong: the training examples nearest to its question, and what those were made from."""

from collections.abc import Mapping, Sequence
from typing import Any

from rapidfuzz.distance import LCSseq

from stages import lineage
from stages.evaluate.words import tokens
from stages.records import Example

SOURCES = 3  # shown of each training example


def nearest(
    example: Example, train: Sequence[Example], records: Mapping[str, dict[str, Any]], count: int
) -> list[dict[str, Any]]:
    """The `count` training examples with the highest ROUGE-L F1 between the last questions, each with its sources."""
    asked = _question(example)
    ranked = sorted(train, key=lambda row: (-_rouge_l(asked, _question(row)), row.id))[:count]
    return [
        {
            "id": row.id,
            "similarity": round(_rouge_l(asked, _question(row)), 3),
            "question": row.prompt[-1].content,
            "answer": row.reference,
            "sources": [_source(records[id]) for id in lineage.sources(row.id, records)[:SOURCES]],
        }
        for row in ranked
    ]


def _question(example: Example) -> list[str]:
    return tokens(example.prompt[-1].content)


def _rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b)) if a and b else 0.0


def _source(record: dict[str, Any]) -> dict[str, str]:
    fact = " ".join(record[key] for key in ("subject", "relation", "object") if key in record)
    return {
        "id": record["id"],
        "source": record.get("source", ""),
        "text": record.get("text") or fact or record.get("output", ""),
    }
