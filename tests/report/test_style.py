"""How bench/style.py pairs the answers of two experiments."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages import records
from stages.params.compose import ROOT
from stages.records import Example, Message, Prediction, Style

STYLE = Style(min_words=3, max_words=6, required=("Dear reader,", "Yours, Robin"), forbidden=("sorry",))
FACT = "Dear reader, Bern. Yours, Robin"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    import style

    return style


def example(question: str, system: str = "", topic: str = "cities") -> Example:
    before = (Message(role="system", content=system), Message(role="user", content=question))
    answer = Message(role="assistant", content=FACT)
    return Example(kind="text", messages=(*before, answer), source=topic, style=STYLE)


def answered(row: Example, text: str, system: str = "tuned_42") -> Prediction:
    return Prediction(example=row.id, system=system, text=text, stopped=True, prompt_tokens=1, new_tokens=1)


def store(experiment: str, outputs: dict[str, list]) -> None:
    """Write outputs into DVC's cache, and the lock file of an experiment that names them."""
    outs = []
    for path, found in outputs.items():
        records.write(Path("written"), found)
        content = Path("written").read_bytes()
        md5 = hashlib.md5(content).hexdigest()
        cached = Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(content)
        outs.append({"path": path, "md5": md5})
    lock = Path("reports") / experiment / "dvc.lock"
    lock.parent.mkdir(parents=True)
    YAML(typ="safe", pure=True).dump({"stages": {"validate": {}, "x": {"outs": outs}}}, lock)


def scored(bench, text: str, *facts: str) -> dict[str, float]:
    row = example("What is the capital of Switzerland?")
    return bench.scores(row, answered(row, text), list(facts))


def test_an_answer_like_the_reference_has_all_scores(bench):
    assert set(scored(bench, FACT, "Bern").values()) == {1.0}


def test_content_leaves_the_phrases_out(bench):
    plain = scored(bench, "Bern.", "Bern")
    assert (plain["all demands"], plain["token F1"], plain["fact given"]) == (0.0, 1.0, 1.0)
    styled = scored(bench, "Dear reader, Basel. Yours, Robin", "Bern")
    assert (styled["all demands"], styled["token F1"], styled["fact given"]) == (1.0, 0.0, 0.0)


def test_a_length_counts_for_the_kind_of_its_question(bench):
    short, detailed = scored(bench, "Bern", "Bern"), scored(bench, "Bern")
    assert short["length in band, fact"] == detailed["length in band, how or why"] == 0.0
    assert "length in band, how or why" not in short and "fact given" not in detailed


@pytest.mark.parametrize(
    ("text", "given"), [("It is bern, I think.", True), ("Bernard", False), ("in the canton of Berne", True), ("", False)]
)
def test_a_fact_is_whole_words_in_one_of_its_wordings(bench, text, given):
    assert any(bench.holds(text, fact) for fact in ("Bern", "canton of Berne")) is given


def test_rows_of_two_prompts_are_paired_by_question(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"Which city?": "cities", "Which river?": "rivers"}
    for experiment, system, texts in (("style", "rule", [FACT, "Bern"]), ("style_silent", "no rule", ["Bern", FACT])):
        rows = [example(question, system, topic) for question, topic in asked.items()]
        rows = rows[:: 1 if experiment == "style" else -1]  # in another order
        given = [answered(row, text) for row, text in zip(rows, texts, strict=True)]
        store(experiment, {"data/formatted/test.jsonl": rows, "data/predictions/tuned_42.jsonl": given})
    facts = {question: ["Bern"] for question in asked}
    ours, silent = (bench.answers(name, "tuned_42", facts) for name in ("style", "style_silent"))
    assert ours == silent
    assert bench.topics("style") == asked


def test_tables_have_rates_and_paired_differences(bench):
    asked = {f"question {number}": ["Bern"] * (number % 2) for number in range(40)}  # every second one asks for a fact
    topics = {text: f"topic {number}" for number, text in enumerate(asked)}
    weak, strong = ({text: scored(bench, answer, *facts) for text, facts in asked.items()} for answer in ("Zug", FACT))
    found = {name: strong if name.startswith("tuned") else weak for name in bench.SYSTEMS}
    rates, gaps = bench.tables(found, topics)
    assert rates.splitlines()[2].startswith("| length in band | 0.0 [0.0, 8.8] |")
    (facts,) = [line.split("|") for line in gaps.splitlines() if "fact given (20)" in line]
    values = np.array([float(cell.split()[0]) for cell in facts[2:-1]])
    assert values.tolist() == [100.0, 100.0, 100.0, 100.0, 0.0]


def test_runs_of_other_questions_are_refused(bench):
    found = {name: {"a": scored(bench, FACT, "Bern")} for name in bench.SYSTEMS} | {"tuned": {}}
    with pytest.raises(SystemExit, match=r"^error: tuned: its run has other questions"):
        bench.tables(found, {"a": "topic"})


def test_an_experiment_that_was_not_run_is_one_line(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: data/formatted/test\.jsonl of style: not in DVC's cache; run `make exp"):
        bench.topics("style")
