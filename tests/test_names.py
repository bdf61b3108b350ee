"""bench/names.py: which texts get another name, and what the table says of the gaps between origins."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import records
from stages.records import Example, Message, Prediction

ROOT = Path(__file__).parents[1]
TEXT = "I am Ann  O'Neil (ann@example.org, not sue@example.com).\nMy lamp broke.\nAnn O'Neil"
RECORD = {"name": "Ann O'Neil", "address": "1 O'Neil Road, Ulm", "email": "ann@example.org", "question": "My lamp broke."}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    import names

    return names


def complaint(number: int = 0, text: str = TEXT, **changed: str | None) -> Example:
    answer = json.dumps(RECORD | changed, ensure_ascii=False)
    turns = {"system": "Extract.", "user": text, "assistant": answer}
    messages = tuple(Message.model_validate({"role": role, "content": content}) for role, content in turns.items())
    return Example(kind="extraction", messages=messages, source=f"layout-{number % 10}")


def test_each_origin_has_as_many_different_names(names: Any) -> None:
    lists = [listed.split(", ") for listed in names.NAMES.values()]
    assert [len(each) for each in lists] == [12] * 6
    everyone = [name for each in lists for name in each]
    assert len(set(everyone)) == 72 and all(len(name.split()) == 2 for name in everyone)
    assert len({names.address(name, "a@b.c") for name in everyone}) == 72


def test_names_are_used_equally_often(names: Any) -> None:
    dealt = names.dealt("Indian", 24)
    assert len(dealt) == 24 and all(dealt.count(name) == 2 for name in dealt)


def test_name_and_address_change_wherever_they_stand(names: Any) -> None:
    changed = names.renamed(complaint(), "Lucía Ibáñez")
    text = "I am Lucía Ibáñez (lucia.ibanez@example.org, not sue@example.com).\nMy lamp broke.\nLucía Ibáñez"
    assert [turn.content for turn in changed.prompt] == ["Extract.", text]
    assert json.loads(changed.reference) == RECORD | {"name": "Lucía Ibáñez", "email": "lucia.ibanez@example.org"}
    assert (changed.source, changed.parents) == ("layout-0", (complaint().id,))


def test_missing_address_stays_missing(names: Any) -> None:
    changed = names.renamed(complaint(email=None), "Wei Li")
    assert json.loads(changed.reference) == RECORD | {"name": "Wei Li", "email": None}
    assert "ann@example.org" in changed.prompt[-1].content


def test_text_without_the_name_is_refused(names: Any) -> None:
    with pytest.raises(SystemExit, match=r"^error: ex-\w+: its text lacks the name \"Ann O'Neil\" of its answer$"):
        names.renamed(complaint(text="I am Annette O'Neil."), "Wei Li")


def test_rows_without_names_are_refused(names: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["names.py"])
    question = Example(kind="text", messages=complaint().prompt, source="s")
    records.write(names.FORMATTED / "test.jsonl", [complaint(name=None), question])
    with pytest.raises(SystemExit, match=r"^error: data/formatted/test\.jsonl: no answer has a name[^\n]+$"):
        names.main()


def shown(names: Any, answer: Callable[[str, Example], str]) -> list[str]:
    rows = [complaint(number) for number in range(60)]
    given = {o: [names.renamed(row, name) for row, name in zip(rows, names.dealt(o, 60), strict=True)] for o in names.NAMES}
    found = {
        origin: [
            Prediction(example=e.id, system="s", text=answer(origin, e), stopped=True, prompt_tokens=1, new_tokens=1)
            for e in examples
        ]
        for origin, examples in given.items()
    }
    lines: list[str] = names.table(given, found).splitlines()
    return lines


def test_origin_whose_names_are_misread_has_the_largest_gap(names: Any) -> None:
    def answer(origin: str, example: Example) -> str:
        right = json.loads(example.reference)
        misread = origin == "Arabic" and int(example.source[-1]) % 2
        return json.dumps(right | {"name": "Nobody"} if misread else right)

    lines = shown(names, answer)
    assert next(line for line in lines if line.startswith("| Arabic | 60 | 87.5 [")).endswith(
        "| 50.0 | 100.0 | 100.0 | 100.0 |"
    )
    pairs = [line for line in lines if "−" in line]
    assert len(pairs) == 15 and all("− Arabic | +12.5 [" in line for line in pairs[:5])
    assert all("| +0.0 [" in line for line in pairs[5:])
    found = re.fullmatch(r"Largest gap: 12\.5 points \[(.*), (.*)\], more than chance explains\.", lines[-1])
    # Layouts have gaps of 0 and 25 points, so the standard error is 12.5 / 3 and 1.96 of it are 8.2.
    assert found and float(found[1]) == pytest.approx(4.3, abs=1) and float(found[2]) == pytest.approx(20.7, abs=1)


def test_equal_answers_have_no_gap(names: Any) -> None:
    assert shown(names, lambda _, example: example.reference)[-1] == "Largest gap: 0.0 points [0.0, 0.0], which may be chance."


def test_largest_of_fifteen_gaps_is_rarely_more_than_chance(names: Any) -> None:
    generator, alarms = np.random.default_rng(0), 0
    sources = np.repeat(np.arange(20), 5)
    for _ in range(200):
        hard = np.repeat(generator.normal(size=20), 5)  # rows of a source are alike
        scores = (hard + generator.normal(size=(6, 100)) < 1).astype(float)
        gaps, half = names.differences(scores, sources, 300, generator)
        alarms += np.abs(gaps).max() > half
    assert 0 < alarms <= 17  # 5 % of 200 are 10; more than 17 have a probability of 1 %


@pytest.mark.model
def test_a_model_answers_each_origin(names: Any, room: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(room("model=random", "predict.max_new_tokens=4"))
    monkeypatch.setattr(sys, "argv", ["names.py", "--system", "base_0shot"])
    records.write(names.FORMATTED / "test.jsonl", [complaint(number) for number in range(4)])
    names.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if " | 4 | 0.0 [" in line] == [f"| {origin}" for origin in names.NAMES]
