"""The names of systems: how they are composed, and what they tell."""

import pytest

from stages import systems
from stages.models.stored import adapter_of

TUNED = systems.tuned([42, 43])


def test_a_passage_adds_a_base_and_all_tuned_systems() -> None:
    bases = systems.bases([0, 3], passage=True)
    assert bases == ["base_0shot", "base_3shot", "base_passage"]
    assert TUNED == {42: "tuned_42", 43: "tuned_43"}
    assert systems.with_passage(bases, TUNED) == {42: "tuned_42_passage", 43: "tuned_43_passage"}
    assert systems.with_passage(systems.bases([0, 3], passage=False), TUNED) == {}


def test_tuned_systems_are_those_without_a_passage() -> None:
    names = ["base_0shot", "base_passage", "tuned_42", "tuned_42_passage", "tuned_passage", "aligned_42", "aligned"]
    assert [name for name in names if systems.is_tuned(name)] == ["tuned_42"]
    assert [name for name in names if systems.is_aligned(name)] == ["aligned_42"]


@pytest.mark.parametrize("method", ["none", "dpo", "kto", "reward", "grpo"])
def test_methods_that_answer_have_aligned_systems(method: str) -> None:
    both = {42: "aligned_42", 43: "aligned_43"}
    assert systems.aligned([42, 43], method) == ({} if method in ("none", "reward") else both)


def test_systems_have_the_adapters_of_train_and_align() -> None:
    found = [str(adapter_of(system)) for system in ("tuned_42", 42, "aligned_42")]
    assert found == ["models/42/adapter", "models/42/adapter", "models/42/aligned"]
