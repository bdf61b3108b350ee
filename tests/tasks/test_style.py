"""The authored questions in a persona's style: right answers, separate topics, and the rule in the prompt."""

import json
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from stages import params
from stages.fetch import rows
from stages.fetch.splits import SPLITS
from stages.format import overlap
from stages.params import RowsData, compose
from stages.records import Style, Task
from stages.text.rouge import RougeL
from stages.text.style import score
from stages.text.words import tokens

SHORT, DETAILED = (8, 30), (50, 90)
FOLDER = compose.ROOT / "data/authored/style"


def composed(experiment: str) -> params.Params:
    return params.check(compose.composed(f"experiment={experiment}"))


def read(experiment: str) -> dict[str, list[Task]]:
    p = composed(experiment)
    assert isinstance(p.data, RowsData)
    return {split: list(found) for split, found in rows.tasks(p.data.model_copy(update={"path": str(FOLDER)}), p.seed).items()}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Task]]:
    return read("style")


@pytest.fixture(scope="module")
def asked() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "test.jsonl").read_text(encoding="utf-8").splitlines()]


def style_of(task: Task) -> Style:
    assert task.style
    return task.style


def band(task: Task) -> tuple[int | None, int | None]:
    return style_of(task).min_words, style_of(task).max_words


@pytest.mark.parametrize(("split", "count"), [("train", 192), ("valid", 40), ("test", 120)])
def test_half_of_each_split_is_to_be_short(splits, split: str, count: int) -> None:
    assert Counter(map(band, splits[split])) == {SHORT: count / 2, DETAILED: count / 2}


def test_no_topic_is_in_two_splits(splits) -> None:
    topics = [{task.source for task in splits[split]} for split in SPLITS]
    assert [len(found) for found in topics] == [32, 10, 30]
    assert len(set.union(*topics)) == 72


def test_every_right_answer_meets_its_style(splits) -> None:
    answers = [(style_of(task), task.output) for split in SPLITS for task in splits[split]]
    assert [answer for style, answer in answers if set(score(style, answer).values()) != {1.0}] == []
    assert all(answer.startswith("Dear reader, ") and answer.endswith("Yours, Robin") for _, answer in answers)


def test_phrases_are_those_of_the_persona_in_every_row(splits) -> None:
    phrases = {(style_of(task).required, style_of(task).forbidden) for split in SPLITS for task in splits[split]}
    assert len(phrases) == 1


@pytest.mark.parametrize(("field", "lowest"), [("input", 0.6), ("output", 0.5)])
def test_no_text_resembles_one_of_another_split(splits, field: str, lowest: float) -> None:
    for one, other in combinations(SPLITS, 2):
        pool = RougeL(bare, [getattr(task, field) for task in splits[one]])
        near = {getattr(task, field): pool.first_above(getattr(task, field), lowest) for task in splits[other]}
        assert {text: pool.texts[match.place] for text, match in near.items() if match} == {}


def bare(text: str) -> list[str]:
    """Return the words of a text without the persona's phrases."""
    return tokens(text.removeprefix("Dear reader,").removesuffix("Yours, Robin"))


def test_no_question_is_asked_twice(splits) -> None:
    questions = [" ".join(tokens(task.input)) for split in SPLITS for task in splits[split]]
    assert len(set(questions)) == len(questions) == 352


def test_no_training_row_overlaps_held_out_ones(splits) -> None:
    ngram = composed("style").format.overlap_ngram
    assert set(overlap.reasons(splits["train"], [*splits["valid"], *splits["test"]], ngram)) == {None}


def test_the_prompt_states_every_demand_of_the_style(splits) -> None:
    phrases = style_of(splits["train"][0])
    for task in splits["test"]:
        assert [text for text in (*phrases.required, *phrases.forbidden) if f'"{text}"' not in task.system] == []
        assert "8 to 30 words" in task.system and "50 to 90 words" in task.system


def test_the_silent_prompt_states_none_and_all_else_is_equal(splits) -> None:
    silent = read("style_silent")
    phrases = style_of(splits["train"][0])
    for split in SPLITS:
        for task, other in zip(splits[split], silent[split], strict=True):
            assert [text for text in (*phrases.required, *phrases.forbidden, "words") if text in other.system] == []
            assert other.model_dump(exclude={"id", "system"}) == task.model_dump(exclude={"id", "system"})
    ours, theirs = (dict(params.flatten(compose.composed(f"experiment={name}"))) for name in ("style", "style_silent"))
    assert {key for key in ours | theirs if ours.get(key) != theirs.get(key)} == {"name", "data.system"}


def test_short_questions_name_their_fact_and_only_the_answer_has_it(asked) -> None:
    for row in asked:
        assert ("fact" in row) == (row["style"]["max_words"] == SHORT[1]), row["question"]
        facts = [f" {' '.join(tokens(fact))} " for fact in row.get("fact", [])]
        question, answer = (f" {' '.join(tokens(row[key]))} " for key in ("question", "answer"))
        assert not facts or any(fact in answer for fact in facts), row["question"]
        assert not any(fact in question for fact in facts), row["question"]
