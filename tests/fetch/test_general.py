"""The authored general items: replayed prompts must differ from the items that measure forgetting."""

import json
from collections import Counter
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.fetch import general
from stages.params import Retention, compose
from stages.synthesize import filters
from stages.text import rouge

FOLDER = compose.ROOT / "data/authored/general"


def texts(name: str, key: str) -> list[str]:
    return [json.loads(line)[key] for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def requests() -> list[str]:
    return [*texts("harm.jsonl", "prompt"), *texts("harmless.jsonl", "prompt")]


def test_replay_prompts_differ_from_retention_items() -> None:
    kept_apart = [filters.tokens(text) for text in [*texts("choices.jsonl", "question"), *requests()]]
    prompts = texts("prompts.jsonl", "prompt")
    assert len(set(prompts)) == len(prompts) >= 100
    for prompt in prompts:
        assert max(rouge.rouge_l(filters.tokens(prompt), item) for item in kept_apart) < 0.75, prompt


def test_requests_are_as_many_of_each_kind_and_all_different() -> None:
    kinds = [Counter(texts(f"{name}.jsonl", "kind")) for name in ("harm", "harmless")]
    assert kinds[0] == kinds[1] and set(kinds[0].values()) == {10} and len(kinds[0]) == 15
    assert len({text.casefold() for text in requests()}) == 300


def test_neither_place_nor_length_names_the_answer() -> None:
    rows = [general.Choice.model_validate_json(line) for line in (FOLDER / "choices.jsonl").read_text("utf-8").splitlines()]
    assert len({row.question.casefold() for row in rows}) == len(rows) == 200
    assert all(len(set(row.options)) == 4 for row in rows)
    assert Counter(row.answer for row in rows) == dict.fromkeys(range(4), 50)
    answers = [row.options[row.answer] for row in rows]
    longest = [
        all(len(right) > len(text) for text in row.options if text != right) for row, right in zip(rows, answers, strict=True)
    ]
    assert sum(longest) <= 50


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("choices", '{"question": "q", "options": ["a"], "answer": 5}'),
        ("choices", '{"question": "q", "options": ["a"], "answer": -1}'),
        ("choices", '{"question": "q", "options": ["a"], "answer": "a"}'),
        ("choices", '{"question": "q", "options": ["a", "b"], "answer": true}'),
        ("choices", '{"question": "q", "options": 5, "answer": 0}'),
        ("choices", '{"question": "q", "options": [5], "answer": 0}'),
        ("choices", '{"question": 5, "options": ["a"], "answer": 0}'),
        ("choices", '{"question": "q", "options": ["\\ud800"], "answer": 0}'),
        ("choices", '{"question": "\\ud800", "options": ["a"], "answer": 0}'),
        ("choices", '{"question": "q", "options": ["a"], "answer": ' + "9" * 5000 + "}"),
        ("harm", '{"prompt": 5}'),
        ("harm", '{"prompt": "\\udfff"}'),
        ("harm", "[" * 50_000),
        ("harm", "5"),
        ("harm", "{}"),
        ("harmless", "{}"),
    ],
    ids=lambda text: text[:60],
)
def test_damaged_retention_item_is_refused_with_one_line(tmp_path: Path, name: str, row: str) -> None:
    rows = dict.fromkeys(("choices", "harm", "harmless"), "") | {name: row + "\n"}
    for file, content in rows.items():
        (tmp_path / f"{file}.jsonl").write_text(content)
    with pytest.raises(DataError, match=rf"^[^\n]*{name}\.jsonl:1: [^\n]+$"):
        general.tasks(Retention.model_construct(path=str(tmp_path), texts=1, words=5))
