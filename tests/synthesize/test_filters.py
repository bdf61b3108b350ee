"""The filters of synthetic texts, the funnel that counts them, and Self-Instruct with a scripted teacher."""

import random
from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer

from stages.errors import DataError
from stages.fetch import authored
from stages.params import Accents, ComplaintInstruct, ComplaintsData, Sampling, Splits
from stages.records import Document
from stages.synthesize import filters, self_instruct
from stages.synthesize.made import Inputs, Made, Step, funnel
from stages.text import rouge
from tests.fixtures.scripted import Scripted

BODIES, LAYOUTS = authored.documents(Path(__file__).parents[2] / "data/authored/complaints", "train")
FILTERS = ["finished", "length", "leftovers", "repetition", "novelty"]
WORDS = ("the", "parcel", "was", "late", "and", "nobody", "called", "me", "back", "about", "refund")
GOOD = (
    "The kettle I ordered whistles even when nobody has filled it with water.",
    "Nobody at the counter could explain why our tickets were cancelled twice.",
    "After the repair my radio plays one station only, whatever I turn.",
)


@pytest.mark.parametrize(
    ("text", "stopped", "passes"),
    [
        ("It broke.", True, True),
        ("It broke!", True, True),
        ("Why did it break?", True, True),
        ("到现在还没有收到。", True, True),
        ("为什么？", True, True),
        ("It broke.", False, False),
        ("It broke", True, False),
        ("It broke,", True, False),
        ("", True, False),
    ],
)
def test_finished_needs_a_sentence_end_by_the_teacher(text: str, stopped: bool, passes: bool) -> None:
    assert (filters.finished(text, None if stopped else "was cut off") is None) == passes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("one two", "2 words, allowed are 3 to 5"),
        ("one two three", None),
        ("One, two; three - four five!", None),
        ("one two three four five six", "6 words, allowed are 3 to 5"),
        ("", "0 words, allowed are 3 to 5"),
        ("没有收到", None),
    ],
)
def test_length_counts_words_and_names_the_limits(text: str, reason: str | None) -> None:
    assert filters.length(text, 3, 5) == reason


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write to me@home.example please.", "@"),
        ("See https://example.org for it.", "https:"),
        ("I am [Your Name] and angry.", "[Your Name]"),
        ("Send it to {address} now.", "{"),
        ("This is **bad** service.", "**"),
        ("Call me at 555-1234 today.", "555-1234"),
        ("I live in Springfield, IL 62704 now.", "IL 62704"),
        ("Dear team, it broke.", "Dear"),
        ("It broke. Sincerely, a customer.", "Sincerely"),
        ("Subject: my parcel is late.", "Subject:"),
        ("I asked Mr. Miller about it.", "Mr"),
        ("My name is not your concern.", "My name is"),
        ("Sure! It broke yesterday.", "Sure"),
        ("Here is a new complaint: it broke.", "Here is"),
        ("As an AI I cannot complain.", "As an AI"),
        ("It broke.\nTwice.", "line break"),
    ],
)
def test_leftovers_name_what_a_body_must_not_have(text: str, found: str) -> None:
    reason = filters.leftovers(text)
    assert reason is not None
    assert found in reason


@pytest.mark.parametrize(
    "text",
    [
        "The meter jumped from 10450 to 12345 in 14 days.",
        "I was charged $1,299.00 on 14 March for a bill of 12345 points.",
        "My address book, the dearest thing I own, was deleted by your update.",
        "The nurse wrote the drug was missing; mysteriously, it came back.",
        "I am not sure why the waiting room here is locked at noon.",
    ],
)
def test_ordinary_sentences_are_not_leftovers(text: str) -> None:
    assert filters.leftovers(text) is None


def test_authored_bodies_pass_the_filters() -> None:
    refused = {
        body.text: reason
        for body in BODIES
        for reason in (
            filters.finished(body.text, None),
            filters.length(body.text, 8, 60),
            filters.leftovers(body.text),
            filters.repetition(body.text, 0.2),
        )
        if reason
    }
    assert refused == {}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d e f", None),
        ("a b", None),
        ("", None),
        ("it is bad it is bad it is bad", "0.57"),
        ("a b c x a b c", None),
        ("a b c d a b c d", "0.33"),
    ],
)
def test_repetition_is_the_share_of_trigrams_seen_before(text: str, share: str | None) -> None:
    reason = filters.repetition(text, 0.2)
    assert reason is None if share is None else reason is not None and reason.startswith(share)


def random_texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("texts", [random_texts(60, 1), [body.text for body in BODIES[:60]]], ids=["random", "authored"])
def test_rouge_l_is_that_of_rouge_score(texts: list[str]) -> None:
    scorer, rng = RougeScorer(["rougeL"]), random.Random(2)
    for _ in range(400):
        a, b = rng.choice(texts), rng.choice(texts)
        expected = scorer.score(a, b)["rougeL"].fmeasure
        assert rouge.rouge_l(filters.tokens(a), filters.tokens(b)) == pytest.approx(expected, abs=1e-9)


def test_rouge_l_sees_chinese_where_rouge_score_is_blind() -> None:
    a, b = filters.tokens("耳机还没有收到"), filters.tokens("耳机已经收到")
    assert rouge.rouge_l(a, b) == pytest.approx(2 * 4 / (7 + 6))
    assert rouge.rouge_l(a, a) == 1.0


def test_pruning_changes_no_decision_at_any_threshold() -> None:
    """A text of k words and itself with more words have ROUGE-L 2k/total, the highest that pruning must keep."""
    texts = ["w " * count for count in range(61)]
    wrong = [
        (highest, k, total)
        for highest in (percent / 100 for percent in range(1, 101, 7))
        for total in range(2, 61)
        for k in range(1, total // 2 + 1)
        if (filters.Novelty([texts[k]], highest).check(texts[total - k]) is not None) != (2 * k / total >= highest)
    ]
    assert wrong == []


def test_nearest_is_the_highest_rouge_l_and_zero_without_words() -> None:
    novelty = filters.Novelty(["a b c d", "a x", "", "。"], 0.7)
    assert novelty.nearest("a b") == pytest.approx(2 / 3)
    assert novelty.nearest("q") == novelty.nearest("") == filters.Novelty([], 0.7).nearest("a") == 0


def test_text_without_words_resembles_none() -> None:
    assert filters.Novelty(["", "。。"], 0.1).check("!!") is None


def test_large_vocabulary_has_distinct_characters() -> None:
    novelty = filters.Novelty([" ".join(f"w{n}" for n in range(70_000))], 0.5)
    assert novelty.check("w55296 w57343 w69999") is None
    novelty.add("w55296 w57343 w69999")
    assert novelty.check("w55296 w57343 w69998") is not None
    assert novelty.check("w55297 w57342 w69998") is None


@pytest.mark.parametrize("highest", [0.3, 0.5, 0.7])
def test_novelty_decides_like_brute_force(highest: float) -> None:
    scorer, seen = RougeScorer(["rougeL"]), [body.text for body in BODIES[:15]]
    novelty = filters.Novelty(seen, highest)
    new = random_texts(40, 3) + [body.text for body in BODIES[10:25]] + [f"{body.text} Really." for body in BODIES[:5]]
    for text in new:
        near = any(scorer.score(text, other)["rougeL"].fmeasure >= highest - 1e-12 for other in seen)
        assert (novelty.check(text) is not None) == near, text
        if not near:
            novelty.add(text)
            seen.append(text)
    assert 20 < len(seen) < 15 + len(new)


def test_check_does_not_add_the_text() -> None:
    novelty = filters.Novelty([], 0.7)
    assert novelty.check(GOOD[0]) is None
    assert novelty.check(GOOD[0]) is None
    novelty.add(GOOD[0])
    assert GOOD[0] in str(novelty.check(GOOD[0].upper()))


def options_for(**given: Any) -> ComplaintInstruct:
    sampling = Sampling(temperature=1.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=1)
    fixed = {"form": "complaints", "max_rouge_l": 0.7, "max_repetition": 0.2, "filters": FILTERS, "sampling": sampling}
    return ComplaintInstruct.model_validate(fixed | given)


def inputs(seeds: Sequence[Document], data: ComplaintsData | None) -> Inputs:
    return Inputs(seeds=seeds, pool=[], documents=[], facts=[], data=data)  # type: ignore[arg-type]


def run(answers: Sequence[tuple[str, bool]], calls: int, rows: int = 5, seed: int = 1) -> tuple[Made, Scripted]:
    options = options_for(calls=calls, demonstrations=3, min_words=8, max_words=60, rows=rows)
    data = ComplaintsData(
        kind="complaints",
        path="unused",
        locale="en_US",
        system="Extract.",
        indent=None,
        rows=Splits(train=1, valid=1, test=1),
        missing=0.2,
        second_email=0.2,
        noise=0.2,
        accents=Accents(locales=["es_ES"], train=0.0, valid=0.0, test=0.0),
        train_hard=1.0,
    )
    replies = cycle(answers)
    teacher = Scripted(lambda _: next(replies))
    return self_instruct.run(inputs([*BODIES, *LAYOUTS], data), teacher, options, seed), teacher  # type: ignore[arg-type]


MIXED = [
    (GOOD[0], True),
    (GOOD[0], True),
    (GOOD[1], False),
    ("Too short.", True),
    ("Dear Sir, the kettle I ordered whistles at night and wakes us.", True),
    ("it is bad it is bad it is bad it is bad.", True),
    (BODIES[0].text, True),
    (GOOD[2], True),
]


def test_first_filter_that_objects_rejects() -> None:
    made, teacher = run(MIXED, calls=len(MIXED))
    assert [document.text for document in made.kept] == [GOOD[0], GOOD[2]]
    assert [rejection.filter for rejection in made.rejected] == [
        "novelty",
        "finished",
        "length",
        "leftovers",
        "repetition",
        "novelty",
    ]
    assert all(rejection.reason for rejection in made.rejected)
    parents = [record.parents[0] for record in (*made.kept, *made.rejected)]
    assert sorted(parents) == sorted(call.id for call in teacher.calls)


def test_the_funnel_adds_up() -> None:
    made, teacher = run(MIXED, calls=20)
    listed = funnel("self_instruct", made, len(teacher.calls), "")
    names, counts = [step.stage for step in listed.stages], [step.count for step in listed.stages]
    assert names == ["generated", *FILTERS, "kept"]
    assert counts[0] == listed.calls == 20
    assert counts[-1] == counts[-2] == len(made.kept)
    lost = [before - after for before, after in pairwise(counts[:-1])]
    assert lost == [listed.rejected[name].count for name in FILTERS]
    assert min(lost) >= 1
    assert listed.rows == len(made.tasks) == 5
    assert listed.rejected["length"].examples[0] == "Too short."


def test_rows_trace_back_to_call_and_demonstrations() -> None:
    made, teacher = run([(text, True) for text in GOOD], calls=3, rows=9)
    kept = {document.id: document for document in made.kept}
    known = {document.id for document in (*BODIES, *LAYOUTS)} | {call.id for call in teacher.calls}
    assert len(made.tasks) == 9
    for row in made.tasks:
        body, layout = row.parents
        assert kept[body].text in GOOD
        assert layout in known
        assert set(kept[body].parents) <= known
        assert len(kept[body].parents) == 1 + 3


@pytest.mark.parametrize("answers", [[("", True)], [("No end", True)], [(BODIES[0].text, True)]])
def test_useless_teacher_makes_no_rows(answers: list[tuple[str, bool]]) -> None:
    made, teacher = run(answers, calls=6)
    listed = funnel("self_instruct", made, len(teacher.calls), "")
    assert (made.kept, made.tasks, len(made.rejected)) == ([], [], 6)
    assert listed.stages[-1] == Step(stage="kept", count=0)
    assert listed.rows == 0


@pytest.mark.parametrize(
    ("answer", "filter", "reason"),
    [
        ((GOOD[0], False), "finished", "was cut off at max_new_tokens"),
        (("", False), "finished", "is empty"),
        (("", True), "finished", "is empty"),
        (("No end", True), "finished", "does not end like a sentence"),
        ((f"Thoughts.\n{GOOD[0]}", True), "leftovers", "has a line break"),
    ],
)
def test_rejected_body_names_the_fault_of_the_reply(answer: tuple[str, bool], filter: str, reason: str) -> None:
    made, _ = run([answer], calls=2)
    assert [(one.filter, one.reason) for one in made.rejected] == [(filter, reason)] * 2


def test_empty_body_never_passes() -> None:
    options = options_for(calls=1, demonstrations=3, min_words=1, max_words=60, rows=1, filters=["leftovers"])
    assert self_instruct._rejected_by("", "is empty", options, filters.Novelty([], 0.7)) == ("finished", "is empty")


@pytest.mark.parametrize("marks", ['""', "“”", "„“", "«»", "「」", "''"])
def test_quoted_body_is_kept_without_its_quotes(marks: str) -> None:
    made, _ = run([(f"{marks[0]}{GOOD[0]}{marks[1]}", True)], calls=1)
    assert [document.text for document in made.kept] == [GOOD[0]]


def test_funnel_without_calls_counts_zero() -> None:
    assert funnel("none", Made(), 0, "").stages == [Step(stage="generated", count=0), Step(stage="kept", count=0)]


def test_the_teacher_is_shown_train_bodies_as_turns_of_its_own() -> None:
    _, teacher = run([(GOOD[0], True)], calls=8)
    shown = {body.text for body in BODIES}
    for call in teacher.calls:
        assert [message.role for message in call.messages] == ["system", *["user", "assistant"] * 3, "user"]
        answered = [message.content for message in call.messages if message.role == "assistant"]
        assert len(set(answered) & shown) == 3
    assert len({call.messages for call in teacher.calls}) == 8


def test_what_is_asked_depends_on_the_seed_alone() -> None:
    asked = [[call.messages for call in run([(GOOD[0], True)], calls=4, seed=seed)[1].calls] for seed in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]


def test_braces_in_a_demonstration_are_text_not_template() -> None:
    body = Document(text="{{ 7 * 7 }} {% raw %}", kind="body", source="s")
    assert self_instruct.prompt([body])[2].content == body.text


@pytest.mark.parametrize("seeds", [[], BODIES, LAYOUTS], ids=["nothing", "no layouts", "no bodies"])
def test_missing_bodies_or_layouts_name_the_option(seeds: list[Document]) -> None:
    options = options_for(calls=1, demonstrations=1, min_words=1, max_words=2, rows=1)
    with pytest.raises(DataError, match="synthesis=none"):
        self_instruct.run(inputs(seeds, None), Scripted(str), options, 1)  # type: ignore[arg-type]
