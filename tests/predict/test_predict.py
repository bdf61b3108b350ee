"""Predictions for the rows of a split: order, batches, shots, agreement and scored references."""

import random
import shutil
import sys
from pathlib import Path

import pytest

from stages import records
from stages.format.retrieval import with_passages
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned
from stages.predict import __main__ as stage
from stages.predict import answers
from stages.records import Document, Example, Message, Prediction
from stages.text import chat, prompts

pytestmark = pytest.mark.model

NEW_TOKENS = 6
BATCH = 4


def question(text: str) -> Example:
    turns = (Message(role="user", content=text), Message(role="assistant", content="reference"))
    return Example(kind="text", messages=turns, source=text[:10])


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Ten rows, alternately long and short."""
    return [
        question(f"{word} " * (9 if i % 2 else 1) + "?")
        for i, word in enumerate(["abacus", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"])
    ]


def answered(model, tokenizer, examples, shots=(), batch_size=BATCH) -> list:
    limits = {"batch_size": batch_size, "max_new_tokens": NEW_TOKENS, "likelihood_rows": 0}
    return answers.predict(LanguageModel(model, tokenizer), examples, {"": shots}, "base_0shot", **limits)


def test_predictions_have_the_order_of_the_examples(tuned_fp32, tokenizer, examples):
    predictions = answered(tuned_fp32, tokenizer, examples)
    assert [p.example for p in predictions] == [example.id for example in examples]
    assert [p.prompt_tokens for p in predictions] == [len(chat.prompt_ids(tokenizer, e.prompt)) for e in examples]


def test_batched_answers_equal_single_ones(tuned_fp32, tokenizer, examples):
    together = answered(tuned_fp32, tokenizer, examples)
    alone = [answered(tuned_fp32, tokenizer, [example])[0] for example in examples]
    assert together == alone
    assert len({prediction.text for prediction in together}) > len(examples) / 2


def test_batches_by_tokens_give_the_same_answers(tuned_fp32, tokenizer, examples, monkeypatch):
    """As on a GPU; in fp32, where a row's neighbours do not matter."""
    by_rows = answered(tuned_fp32, tokenizer, examples)
    sizes, generate = [], answers.decoding.generate
    monkeypatch.setattr(answers.decoding, "generate", lambda lm, ids, *how: sizes.append(len(ids)) or generate(lm, ids, *how))
    longest = max(prediction.prompt_tokens for prediction in by_rows) + NEW_TOKENS
    monkeypatch.setattr(answers.batches, "limits", lambda *_: answers.batches.Limits(len(examples), 3 * longest))
    assert answered(tuned_fp32, tokenizer, examples) == by_rows
    assert len(set(sizes)) > 1 and sum(sizes) == len(examples)


def test_answers_do_not_depend_on_the_order_of_rows(weights, adapter, tokenizer, examples):
    """In bf16, where other neighbours in a batch would give other texts."""
    model = load_tuned(weights, adapter, "cpu")
    shuffled = random.Random(0).sample(examples, len(examples))
    assert shuffled != examples
    first, second = answered(model, tokenizer, examples), answered(model, tokenizer, shuffled)
    assert first != second
    assert {p.example: p for p in first} == {p.example: p for p in second}


def test_shots_precede_the_question(tuned_fp32, tokenizer, rows):
    example = rows["train"][1]
    assert example.messages[0].role == "system"
    shots = [message for row in rows["valid"][:2] for message in row.messages]
    shown = prompts.with_shots(example.prompt, shots)
    assert shown == [example.messages[0], *shots, *example.prompt[1:]]
    (prediction,) = answered(tuned_fp32, tokenizer, [example], shots)
    assert prediction.prompt_tokens == len(chat.prompt_ids(tokenizer, shown))


def test_name_of_a_base_system_gives_its_shots(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    records.write(prompts.SHOTS, rows["valid"])
    assert prompts.shots_of("base_0shot") == prompts.shots_of("tuned_42") == []
    assert prompts.shots_of("base_3shot") == [message for example in rows["valid"][:3] for message in example.messages]


def test_shots_of_a_mixture_are_of_the_data_set(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    named = [row.model_copy(update={"dataset": ("one", "two")[place % 2]}) for place, row in enumerate(rows["valid"][:4])]
    named = [Example.model_validate(row.model_dump(exclude={"id"})) for row in named]
    records.write(prompts.SHOTS, named)
    found = prompts.shots_by_dataset("base_1shot", named)
    assert found == {"one": list(named[0].messages), "two": list(named[1].messages)}
    assert prompts.shots_of("base_3shot", "two") == [message for row in named[1::2] for message in row.messages]
    assert prompts.shots_of("base_3shot") == [message for row in named[:3] for message in row.messages]


def test_model_agrees_most_with_its_own_answers(tuned_fp32, weights, tokenizer, examples):
    predictions = answered(tuned_fp32, tokenizer, examples)
    mine = answers.agreement(LanguageModel(tuned_fp32, tokenizer), examples[:5], predictions, "nf4")
    base = LanguageModel(loading.load_base(weights, "cpu"), tokenizer)
    other = answers.agreement(base, examples[:5], predictions, "nf4")
    assert mine.rows == other.rows == sum(bool(prediction.text) for prediction in predictions[:5])
    assert other.token_agreement < mine.token_agreement
    assert other.row_agreement < 1


def test_references_of_some_and_choices_of_all_are_scored(tuned_fp32, tokenizer, examples):
    closed = examples[3].model_copy(update={"id": "", "choices": ("reference", "other", "x")})
    rows = [*examples[:3], closed]
    limits = {"batch_size": BATCH, "max_new_tokens": NEW_TOKENS, "likelihood_rows": 2}
    found = answers.predict(LanguageModel(tuned_fp32, tokenizer), rows, {"": ()}, "base_0shot", **limits)
    assert [row.reference_logprob is None for row in found] == [False, False, True, True]
    assert found[0].reference_tokens == len("reference") + 1  # one token per byte, and the end token
    assert [len(row.choice_logprobs) for row in found] == [0, 0, 0, 3]
    assert found[3].choice_tokens == (9, 5, 1)


def test_only_rows_of_extraction_are_kept_to_their_schema(tuned_fp32, tokenizer, examples):
    """A random model writes anything; the other rows answer as they do without a schema."""
    asked = [row.model_copy(update={"id": "", "kind": "extraction"}) for row in examples[:3]]
    schema = {"type": "object", "properties": {"field": {"type": "string"}}, "required": ["field"]}
    limits = {"batch_size": BATCH, "max_new_tokens": NEW_TOKENS, "likelihood_rows": 0, "schemas": {"": schema}}
    lm = LanguageModel(tuned_fp32, tokenizer)
    found = answers.predict(lm, [*asked, *examples[3:]], {"": ()}, "base_0shot", **limits)
    assert all('{"field":"'.startswith("".join(row.text.split())[:NEW_TOKENS]) for row in found[:3])
    assert [row.text for row in found[3:]] == [row.text for row in answered(tuned_fp32, tokenizer, examples[3:])]


def run(monkeypatch, system: str) -> list[Prediction]:
    monkeypatch.setattr(sys, "argv", ["predict", system])
    stage.main()
    return list(records.read(Path(f"data/predictions/{system}.jsonl"), Prediction))


@pytest.fixture
def split(room, adapter, rows, monkeypatch):
    """Return a function that makes a folder with an adapter, and a split of two questions with their passages."""

    def make(*overrides: str) -> list[Example]:
        root = room("quantization=none", *overrides)
        shutil.copytree(adapter, root / "models/42/adapter")
        monkeypatch.chdir(root)
        passages = [Document(text=f"Number {i} is a number.", kind="passage", source="d") for i in range(2)]
        records.write(Path("data/formatted/test.jsonl"), rows["valid"][:2])
        records.write(Path("data/formatted/passages.jsonl"), with_passages(rows["valid"][:2], passages))
        return rows["valid"][:2]

    return make


def test_base_and_tuned_read_the_same_passage(split, monkeypatch):
    asked = [example.id for example in split("predict.passage=true")]
    names = ("base_0shot", "base_passage", "tuned_42", "tuned_42_passage")
    found = {name: run(monkeypatch, name) for name in names}
    assert all([row.example for row in answers] == asked for answers in found.values())
    length = {name: [row.prompt_tokens for row in answers] for name, answers in found.items()}
    assert length["base_passage"] == length["tuned_42_passage"] != length["tuned_42"] == length["base_0shot"]
    assert len({found[name][0].text for name in names[1:]}) == 3
    assert [path.name for path in Path("data/agreement").iterdir()] == ["tuned_42.json"]


@pytest.mark.parametrize("system", ["base_passage", "tuned_42_passage", "aligned_42"])
def test_system_is_empty_unless_requested(system, split, monkeypatch):
    split()
    assert run(monkeypatch, system) == []
    assert Path(f"data/cost/predict_{system}.json").read_text() == "{}\n"


def test_aligned_model_answers_with_its_own_adapter(split, adapter, monkeypatch):
    asked = [example.id for example in split("align=dpo", "preference.sources=[verifier]")]
    shutil.copytree(adapter, "models/42/aligned")
    found = run(monkeypatch, "aligned_42")
    assert [row.example for row in found] == asked and {row.system for row in found} == {"aligned_42"}
    assert [row.text for row in found] == [row.text for row in run(monkeypatch, "tuned_42")]
    assert [path.name for path in Path("data/agreement").iterdir()] == ["tuned_42.json"]
    shutil.rmtree("models/42/adapter")
    assert run(monkeypatch, "aligned_42") == found
