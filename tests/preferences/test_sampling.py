"""Samples of a model: which rows are prompts, and the same samples after a kill."""

import json

import pytest

from stages.errors import DataError
from stages.models.loading import LanguageModel, load_base, load_tokenizer
from stages.params import Sampling
from stages.preferences import sampling
from stages.preferences.records import Sample
from stages.records import Example, Message, ToolCall
from tests.preferences.conftest import row

SHORT = Sampling(temperature=1.0, top_p=0.95, presence_penalty=0.0, max_new_tokens=4).model_dump()
ROWS = [row(number, "In Ulm.", "text") for number in (3, 100000, 20)]


def test_rows_that_cannot_be_sampled_are_counted() -> None:
    ask, answer = Message(role="user", content="Where?"), Message(role="assistant", content="In Ulm.")
    rows = [
        row(1),
        row(1, "{}"),
        Example(kind="text", messages=(ask, answer), source="general-7"),
        Example(kind="text", messages=(answer,), source="s", parents=("task-2",)),
        Example(kind="text", messages=(ask, answer.model_copy(update={"trained": False})), source="s", parents=("t",)),
        Example(kind="text", messages=(ask, answer.model_copy(update={"reasoning": "Hm."})), source="s", parents=("t",)),
        Example(
            kind="text",
            messages=(ask, answer.model_copy(update={"tool_calls": (ToolCall(name="f", arguments="{}"),)})),
            source="s",
            parents=("t",),
        ),
    ]
    prompts, reasons = sampling.drawn(rows, 5, seed=1)
    assert prompts == [rows[0]]
    expected = {"prompt again": 1, "replayed": 1, "no question": 1, "no answer to learn": 1, "thoughts or tools": 2}
    assert reasons == expected


def test_seed_draws_the_prompts() -> None:
    rows = [row(number) for number in range(20)]
    first, again, other = (sampling.drawn(rows, 5, seed)[0] for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 5


def test_killed_sampling_continues_with_the_same_samples(settings, lm, tmp_path, monkeypatch) -> None:
    options = settings(samples=2, batch_size=2, sampling=SHORT)
    asked: list[int] = []
    original = sampling.sample

    def sample(lm, prompts, *rest):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return original(lm, prompts, *rest)

    monkeypatch.setattr(sampling, "sample", sample)
    with pytest.raises(KeyboardInterrupt):
        sampling.sampled(lm, ROWS, options, 1, "model")
    asked.append(0)  # the next run asks only for the batch that is missing
    resumed, earlier = sampling.sampled(lm, ROWS, options, 1, "model")
    assert asked == [2, 2, 0, 2]
    batches = [json.loads(path.read_text())["seconds"] for path in (tmp_path / ".tunetrail/samples").glob("*.json")]
    assert 0 < earlier < sum(batches)  # without that of the batch that was missing
    assert sampling.sampled(lm, ROWS, options, 1, "model") == (resumed, pytest.approx(sum(batches)))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    assert sampling.sampled(lm, ROWS, options, 1, "model") == (resumed, 0)
    assert [(sample.example, sample.number) for sample in resumed] == [(row.id, n) for row in ROWS for n in range(2)]
    assert sampling.sampled(lm, ROWS, options, 2, "model")[0] != resumed


def test_prompt_without_room_for_an_answer_is_named(settings, lm) -> None:
    options = settings(sampling=SHORT | {"max_new_tokens": 4090})
    with pytest.raises(
        DataError, match=rf"max_new_tokens = 4090: the prompt of {ROWS[0].id} has \d+ tokens, and the model reads"
    ):
        sampling.sampled(lm, ROWS, options, 1, "model")


def test_damaged_store_is_named(settings, lm, tmp_path) -> None:
    options = settings(samples=2, sampling=SHORT)
    sampling.sampled(lm, ROWS[:1], options, 1, "model")
    (stored,) = (tmp_path / ".tunetrail/samples").glob("*.json")
    stored.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=f"{stored}: damaged samples; delete this file"):
        sampling.sampled(lm, ROWS[:1], options, 1, "model")


def test_encoder_decoder_is_sampled(settings, seq2seq) -> None:
    from stages.models import sources

    folder = sources.ensure(seq2seq)
    t5 = LanguageModel(load_base(folder, "cpu"), load_tokenizer(folder))
    found, _ = sampling.sampled(t5, ROWS[:1], settings(samples=2, sampling=SHORT), 1, "model")
    assert [type(sample) for sample in found] == [Sample, Sample]
