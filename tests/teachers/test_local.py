"""The local teacher: answers are stored and reused, and budgets stop it."""

import shutil

import pytest

from stages import fingerprint
from stages.generation import sampling
from stages.models import loading
from stages.records import Message
from stages.teachers import backends, local
from stages.teachers.teacher import Ask, Teacher

pytestmark = pytest.mark.model

REQUESTS = [f"complaint {i}" for i in range(6)]
SAMPLING = "synthesis.self_instruct.sampling"


@pytest.fixture
def teacher(tmp_path, monkeypatch, options, manifest):
    """Return a function that makes a local teacher, all with one store, and its requests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "read_manifest", lambda: manifest)

    def make(*overrides: str, seed: int = 7) -> tuple[Teacher, list[Ask]]:
        own = ("teacher.batch_size=4", "synthesis.budget.max_calls=null", "synthesis.self_instruct.sampling.max_new_tokens=6")
        p = options(*own, *overrides)
        asks = [Ask((Message(role="user", content=text),), p.synthesis.self_instruct.sampling) for text in REQUESTS]
        return Teacher(backends.backend(p.teacher, p.runtime), p.synthesis.budget, seed), asks

    return make


def test_stored_answers_are_reused(teacher, monkeypatch):
    first, asks = teacher()
    calls = first.answer(asks)
    assert (len(calls), first.asked) == (6, 6)
    monkeypatch.setattr(loading, "load_base", lambda *_: pytest.fail("the model was loaded for stored answers"))
    second, asks = teacher()
    assert second.answer(asks) == calls
    assert second.asked == 0
    assert second.cost() == first.cost().model_copy(update={"asked": 0})


def test_interrupted_teacher_asks_only_missing_requests(teacher, monkeypatch):
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


def test_answers_of_other_code_are_asked_again_with_the_same_seed(teacher, monkeypatch):
    first, asks = teacher()
    calls = first.answer(asks)
    hashed = fingerprint.file_hash
    monkeypatch.setattr(fingerprint, "file_hash", lambda path: "0" * 64 if path.name == "sampling.py" else hashed(path))
    edited, asks = teacher()
    assert edited.answer(asks) == calls
    assert edited.asked == 6


@pytest.mark.parametrize("changed", [f"{SAMPLING}.temperature=0.9", f"{SAMPLING}.top_p=0.5", "seed"])
def test_changed_request_is_asked_again(teacher, changed):
    one, asks = teacher()
    first = one.answer(asks)
    other, asks = teacher(seed=8) if changed == "seed" else teacher(changed)
    second = other.answer(asks)
    assert other.asked == 6
    assert [call.text for call in second] != [call.text for call in first]


def test_budget_of_calls_keeps_the_answers_so_far(teacher):
    one, asks = teacher("synthesis.budget.max_calls=3")
    assert [call is None for call in one.answer(asks)] == [False] * 3 + [True] * 3
    assert (one.asked, one.spent) == (3, "synthesis.budget.max_calls = 3")


def test_budget_of_tokens_stops_after_a_batch(teacher):
    one, asks = teacher("synthesis.budget.max_tokens=1")
    calls = one.answer(asks)
    assert 0 < sum(call is not None for call in calls) < 6
    assert one.answer(asks) == [None] * 6
    assert one.spent == "synthesis.budget.max_tokens = 1"


def test_changed_request_costs_only_nearby_batches(teacher):
    one, asks = teacher("teacher.batch_size=8", "synthesis.self_instruct.sampling.max_new_tokens=1")
    many = [Ask((Message(role="user", content=f"q {i}"),), asks[0].sampling) for i in range(300)]
    one.answer(many)
    other, _ = teacher("teacher.batch_size=8", "synthesis.self_instruct.sampling.max_new_tokens=1")
    added = [Ask((Message(role="user", content=text),), asks[0].sampling) for text in ("changed", "and one more")]
    other.answer([*many[:100], *added, *many[101:]])
    assert 2 <= other.asked <= 40
