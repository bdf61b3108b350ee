"""The names of systems: how they are composed, and what they tell."""

from stages import systems

TUNED = systems.tuned([42, 43])


def test_a_passage_adds_a_base_and_all_tuned_systems() -> None:
    bases = systems.bases([0, 3], passage=True)
    assert bases == ["base_0shot", "base_3shot", "base_passage"]
    assert TUNED == {42: "tuned_42", 43: "tuned_43"}
    assert systems.with_passage(bases, TUNED) == {42: "tuned_42_passage", 43: "tuned_43_passage"}
    assert systems.with_passage(systems.bases([0, 3], passage=False), TUNED) == {}


def test_tuned_systems_are_those_without_a_passage() -> None:
    names = ["base_0shot", "base_passage", "tuned_42", "tuned_42_passage", "tuned_passage"]
    assert [name for name in names if systems.is_tuned(name)] == ["tuned_42"]
