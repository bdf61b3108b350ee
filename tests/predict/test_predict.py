"""Answers: each belongs to its own row, batches are stored and resumed, files go through `tunetrail predict`."""

import io
import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from stages import params, records
from stages.commands import predict
from stages.errors import DataError
from stages.generation import cache, decoding, likelihoods, sampling
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned
from stages.predict import answers
from stages.records import Example, Message
from stages.teachers import backends, local
from stages.teachers.teacher import Ask, Teacher
from stages.text import chat, prompts

pytestmark = pytest.mark.model

NEW_TOKENS = 6
BATCH = 4


def question(text: str) -> Example:
    turns = (Message(role="user", content=text), Message(role="assistant", content="reference"))
    return Example(kind="text", messages=turns, source=text[:10])


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Ten rows, long and short by turns."""
    return [
        question(f"{word} " * (9 if i % 2 else 1) + "?")
        for i, word in enumerate(["abacus", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"])
    ]


@pytest.fixture(scope="module")
def exact(weights, adapter):
    """The tuned model in fp32: there an answer does not depend on its neighbours in the batch."""
    return load_tuned(weights, adapter, "cpu").float()


def answered(model, tokenizer, examples, shots=(), batch_size=BATCH) -> list:
    limits = {"batch_size": batch_size, "max_new_tokens": NEW_TOKENS, "likelihood_rows": 0}
    return answers.predict(LanguageModel(model, tokenizer), examples, shots, "base_0shot", **limits)


# Rows of a split ----------------------------------------------------------------------------------------------------------


def test_predictions_come_in_the_order_of_the_examples(exact, tokenizer, examples):
    predictions = answered(exact, tokenizer, examples)
    assert [p.example for p in predictions] == [example.id for example in examples]
    assert [p.prompt_tokens for p in predictions] == [len(chat.prompt_ids(tokenizer, e.prompt)) for e in examples]


def test_each_answer_is_what_its_prompt_alone_gets(exact, tokenizer, examples):
    together = answered(exact, tokenizer, examples)
    alone = [answered(exact, tokenizer, [example])[0] for example in examples]
    assert together == alone
    assert len({prediction.text for prediction in together}) > len(examples) / 2


def test_answers_do_not_depend_on_the_order_of_rows(weights, adapter, tokenizer, examples):
    """In bf16, where batches with other neighbours would give other texts."""
    model = load_tuned(weights, adapter, "cpu")
    shuffled = random.Random(0).sample(examples, len(examples))
    assert shuffled != examples
    first, second = answered(model, tokenizer, examples), answered(model, tokenizer, shuffled)
    assert first != second
    assert {p.example: p for p in first} == {p.example: p for p in second}


def test_shots_stand_between_system_prompt_and_question(exact, tokenizer, rows):
    asked = rows["train"][1]
    assert asked.messages[0].role == "system"
    shots = [message for example in rows["valid"][:2] for message in example.messages]
    shown = prompts.with_shots(asked.prompt, shots)
    assert shown == [asked.messages[0], *shots, *asked.prompt[1:]]
    (prediction,) = answered(exact, tokenizer, [asked], shots)
    assert prediction.prompt_tokens == len(chat.prompt_ids(tokenizer, shown))


def test_a_base_system_takes_as_many_shots_as_its_name_says(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    records.write(prompts.SHOTS, rows["valid"])
    assert prompts.shots_of("base_0shot") == prompts.shots_of("tuned_42") == []
    assert prompts.shots_of("base_3shot") == [message for example in rows["valid"][:3] for message in example.messages]


def test_a_model_agrees_with_its_own_answers_and_another_does_not(exact, weights, tokenizer, examples):
    predictions = answered(exact, tokenizer, examples)
    mine = answers.agreement(LanguageModel(exact, tokenizer), examples[:5], predictions)
    other = answers.agreement(LanguageModel(loading.load_base(weights, "cpu"), tokenizer), examples[:5], predictions)
    assert mine["rows"] == other["rows"] == sum(bool(prediction.text) for prediction in predictions[:5])
    assert other["token_agreement"] < mine["token_agreement"]
    assert other["row_agreement"] < 1


# Likelihoods and shared beginnings ----------------------------------------------------------------------------------------

ALIKE = [list(range(10, 90)) + tail for tail in ([5, 6, 7], [8, 9, 10, 11, 12], [5, 30, 31])]
ENDS = [[20, 21, 22], [23], [24, 25]]


def one_by_one(model, prompt: list[int], end: list[int]) -> float:
    import torch

    logits = model(torch.tensor([prompt + end])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(end))


@pytest.mark.parametrize("worth_sharing", [64, 10**6], ids=["shared", "apart"])
def test_log_likelihoods_are_those_of_each_row_alone(exact, tokenizer, monkeypatch, worth_sharing):
    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    found = likelihoods.log_likelihoods(LanguageModel(exact, tokenizer), ALIKE, ENDS)
    assert found == pytest.approx([one_by_one(exact, p, e) for p, e in zip(ALIKE, ENDS, strict=True)], abs=1e-4)


@pytest.mark.parametrize("worth_sharing", [4, 64], ids=["shared", "apart"])
def test_options_that_begin_alike_are_scored_from_their_first_token_on(exact, tokenizer, monkeypatch, worth_sharing):
    """ "The correct answer is …" five times: what the options share belongs to their likelihood, not to the prompt."""
    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    texts = ["The answer is anorexia.", "The answer is fever.", "The answer is a long name of something."]
    found, tokens = likelihoods.choices(LanguageModel(exact, tokenizer), ALIKE[0], texts)
    ends = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert found == pytest.approx([one_by_one(exact, ALIKE[0], end) for end in ends], abs=1e-3)
    assert tokens == [len(end) for end in ends]


def test_a_beginning_that_prompts_share_is_computed_once_and_changes_no_answer(exact, tokenizer, monkeypatch):
    widths = []
    exact.register_forward_pre_hook(lambda _, __, given: widths.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    shared = decoding.greedy(LanguageModel(exact, tokenizer), ALIKE, NEW_TOKENS)
    assert widths[0] == (1, 80)
    assert widths[1] == (3, 5)
    monkeypatch.setattr(cache, "WORTH_SHARING", 10**6)
    assert decoding.greedy(LanguageModel(exact, tokenizer), ALIKE, NEW_TOKENS) == shared


@pytest.mark.parametrize("worth_sharing", [64, 10**6], ids=["shared", "apart"])
def test_a_cache_with_room_answers_as_transformers_own(weights, adapter, tokenizer, monkeypatch, worth_sharing):
    from transformers import DynamicCache

    model = load_tuned(weights, adapter, "cpu")  # in bf16: the same numbers, not only nearly so
    monkeypatch.setattr(cache, "WORTH_SHARING", worth_sharing)
    monkeypatch.setattr(cache, "ROOM", 5)  # less than is answered, so that the cache grows more than once
    roomy = decoding.greedy(LanguageModel(model, tokenizer), ALIKE, 3 * NEW_TOKENS)
    likely = likelihoods.log_likelihoods(LanguageModel(model, tokenizer), ALIKE, ENDS)
    monkeypatch.setattr(cache, "_empty", lambda _: DynamicCache(config=model.config))
    assert decoding.greedy(LanguageModel(model, tokenizer), ALIKE, 3 * NEW_TOKENS) == roomy
    assert likelihoods.log_likelihoods(LanguageModel(model, tokenizer), ALIKE, ENDS) == likely
    assert max(answer.new_tokens for answer in roomy) > 10


def test_references_are_scored_for_as_many_rows_as_asked_for_and_choices_for_all_that_have_them(exact, tokenizer, examples):
    closed = examples[3].model_copy(update={"id": "", "choices": ("reference", "other", "x")})
    rows = [*examples[:3], closed]
    found = answers.predict(
        LanguageModel(exact, tokenizer), rows, (), "base_0shot", batch_size=BATCH, max_new_tokens=NEW_TOKENS, likelihood_rows=2
    )
    assert [row.reference_logprob is None for row in found] == [False, False, True, True]
    assert found[0].reference_tokens == len("reference") + 1  # a token a byte, and the end token
    assert [len(row.choice_logprobs) for row in found] == [0, 0, 0, 3]
    assert found[3].choice_tokens == (9, 5, 1)


# The local teacher --------------------------------------------------------------------------------------------------------


@pytest.fixture
def teacher(tmp_path, monkeypatch, options, manifest):
    """A new local teacher each time, all with the same store, and the requests as it is to sample them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "read_manifest", lambda: manifest)

    def make(*overrides: str, seed: int = 7) -> tuple[Teacher, list[Ask]]:
        p = options("teacher.batch_size=4", "synthesis.self_instruct.sampling.max_new_tokens=6", *overrides)
        asks = [Ask((Message(role="user", content=text),), p.synthesis.self_instruct.sampling) for text in REQUESTS]
        return Teacher(backends.backend(p.teacher, p.runtime), p.synthesis.budget, seed), asks

    return make


REQUESTS = [f"complaint {i}" for i in range(6)]


def test_an_answered_batch_is_read_back_and_not_asked_again(teacher, monkeypatch):
    first, asks = teacher()
    calls = first.answer(asks)
    assert (len(calls), first.asked) == (6, 6)
    monkeypatch.setattr(loading, "load_base", lambda *_: pytest.fail("the model was loaded for stored answers"))
    second, asks = teacher()
    assert second.answer(asks) == calls
    assert second.asked == 0
    assert second.cost() == replace(first.cost(), asked=0)


def test_an_interrupted_teacher_asks_only_for_what_is_missing(teacher, monkeypatch):
    whole, asks = teacher()
    sample, asked = sampling.sample, []

    def interrupted(lm, prompts, *rest):
        if asked:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return sample(lm, prompts, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sampling, "sample", interrupted)
        whole.answer(asks)
    second, asks = teacher()
    resumed = second.answer(asks)
    assert second.asked == 6 - asked[0]

    shutil.rmtree(".tunetrail")
    again, asks = teacher()
    assert again.answer(asks) == resumed


SAMPLING = "synthesis.self_instruct.sampling"


@pytest.mark.parametrize("changed", [f"{SAMPLING}.temperature=0.9", f"{SAMPLING}.top_p=0.5", "seed"])
def test_another_request_is_asked_anew(teacher, changed):
    one, asks = teacher()
    first = one.answer(asks)
    other, asks = teacher(seed=8) if changed == "seed" else teacher(changed)
    second = other.answer(asks)
    assert other.asked == 6
    assert [call.text for call in second] != [call.text for call in first]


def test_a_budget_of_calls_stops_cleanly_with_what_there_is(teacher):
    one, asks = teacher("synthesis.budget.max_calls=3")
    assert [call is None for call in one.answer(asks)] == [False] * 3 + [True] * 3
    assert (one.asked, one.spent) == (3, "synthesis.budget.max_calls = 3")


def test_a_budget_of_tokens_stops_after_the_batch_that_spends_it(teacher):
    one, asks = teacher("synthesis.budget.max_tokens=1")
    calls = one.answer(asks)
    assert 0 < sum(call is not None for call in calls) < 6
    assert one.answer(asks) == [None] * 6
    assert one.spent == "synthesis.budget.max_tokens = 1"


def test_a_changed_request_of_hundreds_costs_the_batches_around_it_only(teacher):
    one, asks = teacher("teacher.batch_size=8", "synthesis.self_instruct.sampling.max_new_tokens=1")
    many = [Ask((Message(role="user", content=f"q {i}"),), asks[0].sampling) for i in range(300)]
    one.answer(many)
    other, _ = teacher("teacher.batch_size=8", "synthesis.self_instruct.sampling.max_new_tokens=1")
    added = [Ask((Message(role="user", content=text),), asks[0].sampling) for text in ("changed", "and one more")]
    other.answer([*many[:100], *added, *many[101:]])
    assert 2 <= other.asked <= 40


def test_the_presence_penalty_lowers_what_was_written_and_not_the_prompt():
    import torch

    lower = sampling._presence_penalty(2, 1.5)
    scores = lower(torch.tensor([[0, 1, 3, 3]]), torch.zeros(1, 4))
    assert scores.tolist() == [[0.0, 0.0, 0.0, -1.5]]


@pytest.mark.parametrize("top_p", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("flatness", [0.3, 3.0])  # a nucleus of few tokens, and one of more than are looked at first
def test_a_draw_comes_from_the_nucleus_as_often_as_its_probability_says(top_p, flatness):
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    logits = torch.randn(1, 1500, generator=torch.Generator().manual_seed(1)) * 2
    stock = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(flatness)(None, logits)).softmax(-1)[0]
    left = sampling._draw(flatness, top_p, seed=42)(None, logits.expand(20_000, -1))
    assert (left.isfinite().sum(-1) == 1).all()
    often = torch.bincount(left.argmax(-1), minlength=1500) / 20_000
    assert not often[stock == 0].any()
    share, tokens = stock.sort(descending=True)
    group = ((share.cumsum(0) - share / 2) * 20).long()  # twenty groups of tokens, as equally likely as single tokens allow
    expected, seen = (torch.zeros(21).index_add(0, group, each) for each in (share, often[tokens]))
    assert ((seen - expected).abs() <= 5 * (expected * (1 - expected).clamp(min=0) / 20_000).sqrt() + 1e-6).all()
    assert flatness < 1 or (expected > 0.01).sum() >= 19  # where many tokens are likely, all groups are compared


def test_a_draw_follows_from_the_seed_and_leaves_the_global_generator_alone():
    import torch

    logits, before = torch.randn(8, 50), torch.get_rng_state()
    first, again, other = (sampling._draw(1.0, 0.95, seed)(None, logits) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_draw_without_doubt_is_the_likeliest_token():
    import torch

    sure = torch.full((3, 9), -torch.inf).scatter(1, torch.tensor([[4], [0], [8]]), 2.5)
    assert sampling._draw(0.7, 0.9, seed=1)(None, sure).argmax(-1).tolist() == [4, 0, 8]


# tunetrail predict --------------------------------------------------------------------------------------------------------

TEXTS = [f"{'long ' * (i % 3)}text {i}, 你好" for i in range(10)]


@pytest.fixture
def tuned(room, adapter, monkeypatch) -> Path:
    """The current folder is a repository with a trained adapter."""
    root = room(f"predict.batch_size={BATCH}", f"predict.max_new_tokens={NEW_TOKENS}")
    shutil.copytree(adapter, root / "models/42/adapter")
    monkeypatch.chdir(root)
    return root


def lines_to(path: str, *given: str) -> str:
    Path(path).write_text("".join(line + "\n" for line in given), encoding="utf-8")
    return path


def rows_of(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_plain_lines_are_answered_in_order(tuned):
    predict.answer(lines_to("texts.txt", *TEXTS), "answers.jsonl", ["tuned"])
    given = rows_of("answers.jsonl")
    assert [row["input"] for row in given] == TEXTS
    assert all(row.keys() == {"input", "text", "parsed", "valid"} for row in given)
    assert len({row["text"] for row in given}) > len(TEXTS) / 2
    assert [path.name for path in Path().iterdir() if path.suffix == ".part"] == []


def test_objects_and_plain_lines_are_the_same_and_blank_lines_are_nothing(tuned):
    objects = [json.dumps({"input": text}, ensure_ascii=i % 2 == 0) for i, text in enumerate(TEXTS)]
    mixed = [line for i, text in enumerate(TEXTS) for line in (objects[i] if i % 2 else text, "  ")]
    for name, given in {"plain": TEXTS, "objects": objects, "mixed": mixed}.items():
        predict.answer(lines_to(f"{name}.jsonl", *given), f"{name}.out", ["tuned"])
    assert Path("plain.out").read_bytes() == Path("objects.out").read_bytes() == Path("mixed.out").read_bytes()


def test_instruction_and_system_of_a_row_reach_the_model(tuned, monkeypatch):
    asked = []

    def spy(lm, prompts, *rest):
        asked.extend(lm.tokenizer.decode(prompt) for prompt in prompts)
        return [decoding.Completion('{"a": 1}', True, 1) for _ in prompts]

    monkeypatch.setattr(decoding, "greedy", spy)
    row = {"input": "the text", "instruction": "Translate.", "system": "Be brief."}
    predict.answer(lines_to("in.jsonl", json.dumps(row), "plain"), "out.jsonl", ["tuned"])
    own = params.load()["data"]["system"]
    assert asked == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nTranslate.\nthe text<|im_end|>\n<|im_start|>assistant\n",
        f"<|im_start|>system\n{own}<|im_end|>\n<|im_start|>user\nplain<|im_end|>\n<|im_start|>assistant\n",
    ]
    assert rows_of("out.jsonl")[0] == {"input": "the text", "text": '{"a": 1}', "parsed": {"a": 1}, "valid": True}


def test_standard_input_and_output_carry_only_the_rows(tuned, python):
    predict.answer(lines_to("texts.txt", *TEXTS), "answers.jsonl", ["tuned"])
    given = "".join(text + "\n" for text in TEXTS)
    run = python(tuned, "-m", "stages.cli", "predict", "--input", "-", "--output", "-", given=given, PYTHONUTF8="1")
    assert run.returncode == 0, run.stderr
    assert run.stdout == Path("answers.jsonl").read_text(encoding="utf-8")


@pytest.fixture
def greedy(monkeypatch):
    """Counts the rows that are answered; stops the process, as Ctrl-C would, when `allowed` batches are through."""
    counted, real = Counter(), decoding.greedy

    def count(lm, prompts, *rest):
        if counted["batches"] == counted["allowed"]:
            raise KeyboardInterrupt
        counted.update(rows=len(prompts), batches=1)
        return real(lm, prompts, *rest)

    monkeypatch.setattr(decoding, "greedy", count)
    return counted


def interrupt_in_the_second_batch(source: str, greedy: Counter) -> Path:
    greedy.update(allowed=1)
    with pytest.raises(KeyboardInterrupt):
        predict.answer(source, "out.jsonl", ["tuned"])
    assert not Path("out.jsonl").exists()
    (part,) = Path().glob(".out.jsonl.*.part")
    greedy.clear()
    greedy.update(allowed=99)
    return part


@pytest.mark.parametrize("whole_lines", [0, 1, 2], ids=["at a border", "within a line", "within a batch"])
def test_an_interrupted_file_goes_on_behind_the_last_whole_batch_to_the_same_bytes(tuned, greedy, whole_lines):
    source = lines_to("texts.txt", *TEXTS)
    greedy.update(allowed=99)
    predict.answer(source, "uninterrupted.jsonl", ["tuned"])
    greedy.clear()
    part = interrupt_in_the_second_batch(source, greedy)
    written = Path("uninterrupted.jsonl").read_bytes().splitlines(keepends=True)
    assert part.read_bytes() == b"".join(written[:BATCH])
    with part.open("ab") as file:  # what a kill leaves of a batch that was being written
        rest = b"".join(written[BATCH : BATCH + whole_lines])
        file.write(rest[:-7] if whole_lines == 1 else rest)
    predict.answer(source, "out.jsonl", ["tuned"])
    assert greedy["rows"] == len(TEXTS) - BATCH
    assert Path("out.jsonl").read_bytes() == Path("uninterrupted.jsonl").read_bytes()
    assert not part.exists()


def test_what_another_adapter_answered_is_not_taken_up(tuned, greedy):
    from safetensors.torch import load_file, save_file

    source = lines_to("texts.txt", *TEXTS)
    interrupt_in_the_second_batch(source, greedy)
    stored = Path("models/42/adapter/adapter_model.safetensors")
    save_file({name: -weight for name, weight in load_file(stored).items()}, stored)
    predict.answer(source, "out.jsonl", ["tuned"])
    assert greedy["rows"] == len(TEXTS)


def test_two_systems_answer_side_by_side(tuned):
    source = lines_to("texts.txt", *TEXTS)
    for name in ("tuned", "base_0shot"):
        predict.answer(source, f"{name}.jsonl", [name])
    predict.answer(source, "both.jsonl", ["base_0shot", "tuned"])
    alone = {
        name: [{key: row[key] for key in ("text", "parsed", "valid")} for row in rows_of(f"{name}.jsonl")]
        for name in ("tuned", "base_0shot")
    }
    assert rows_of("both.jsonl") == [
        {"input": text, "base_0shot": base, "tuned": tuned}
        for text, base, tuned in zip(TEXTS, alone["base_0shot"], alone["tuned"], strict=True)
    ]
    assert alone["base_0shot"] != alone["tuned"]


def test_a_file_without_texts_gives_a_file_without_rows(tuned):
    predict.answer(lines_to("texts.txt", "", " "), "out.jsonl", ["tuned"])
    assert Path("out.jsonl").read_bytes() == b""


def test_without_an_adapter_one_line_says_how_to_get_it(tuned, python):
    shutil.rmtree("models/42")
    lines_to("texts.txt", *TEXTS)
    run = python(tuned, "-m", "stages.cli", "predict", "--input", "texts.txt", "--output", "out.jsonl")
    assert run.returncode == 1
    said = "models/42/adapter does not exist; train it with `dvc repro` or fetch it with `dvc pull`"
    assert run.stderr == f"error: --system tuned_42: {said}\n"
    assert (run.stdout, [path.name for path in tuned.glob("*out*")]) == ("", [])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('{"text": "a"}', r"texts.jsonl:3: must be a text or an object"),
        ('{"input": 3}', r"texts.jsonl:3: must be a text or an object"),
        ('{"input": "a", "instruction": null}', r"texts.jsonl:3: must be a text or an object"),
        ('{"input": "a \\ud83d b"}', r"texts.jsonl:3: holds half of an escaped pair"),
        ('{"input": "a", "system": "\\ud83d"}', r"texts.jsonl:3: holds half of an escaped pair"),
        ("a" * 9000, r"line 3 has 9\d{3} tokens for --system .*the model reads 40\d\d"),
    ],
)
def test_a_bad_line_is_named_and_the_output_is_not_made(tuned, bad, said):
    source = lines_to("texts.jsonl", "a", '{"input": "b"}', bad, "c")
    with pytest.raises(DataError, match=said):
        predict.answer(source, "out.jsonl", ["tuned"])
    assert not Path("out.jsonl").exists()
    assert list(Path().glob(".*.part")) == []


@pytest.mark.parametrize("source", ["texts.txt", "-"])
def test_a_line_that_is_not_utf_8_is_named(tuned, monkeypatch, source):
    bad = "good\nM\xfcller\n".encode("latin-1")
    Path("texts.txt").write_bytes(bad)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bad)))
    with pytest.raises(DataError, match=f"^{source}:2: not UTF-8"):
        predict.answer(source, "out.jsonl", ["tuned"])


def test_more_examples_than_are_kept_and_no_system_at_all_are_refused(tuned):
    source = lines_to("texts.txt", "a")
    with pytest.raises(DataError, match=r"shots.jsonl: no such file; run `dvc repro format`"):
        predict.answer(source, "out.jsonl", ["base_3shot"])
    Path("data/formatted").mkdir(parents=True, exist_ok=True)
    lines_to("data/formatted/shots.jsonl")
    with pytest.raises(DataError, match=r"--system base_3shot: .*shots.jsonl holds 0 examples; raise format.shots"):
        predict.answer(source, "out.jsonl", ["base_3shot"])
    with pytest.raises(DataError, match="--system: names no system"):
        predict.answer(source, "out.jsonl", [])
    with pytest.raises(DataError, match="--output data: is a folder"):
        predict.answer(source, "data", ["tuned"])


@pytest.mark.parametrize("system", ["tune", "base_3", "base_xshot", "tuned_7"])
def test_an_unknown_system_is_named_before_anything_is_read(tuned, system):
    with pytest.raises(DataError, match=f"--system {system}: "):
        predict.answer("nothing.txt", "out.jsonl", [system])


def test_an_input_that_is_not_there_is_named(tuned):
    with pytest.raises(DataError, match=r"--input nothing\.txt: no such file"):
        predict.answer("nothing.txt", "out.jsonl", ["tuned"])
