"""Training rows that repeat a held-out one are found; form that rows share does not count (from public bug reports)."""

import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from stages.fetch.choices import asked
from stages.format import overlap
from stages.records import Message, Task
from stages.spool import Again


def task(input: str = "", output: str = "right", **more: Any) -> Task:
    return Task(**{"kind": "text", "input": input, "output": output, "source": f"row {input}"} | more)


def remove(train: list[Task], held_out: list[Task], ngram: int | None) -> tuple[list[Task], dict[str, int]]:
    """Return the rows that are kept, and how many are removed for each reason."""
    reasons = list(overlap.reasons(train, held_out, ngram))
    kept = [row for row, reason in zip(train, reasons, strict=True) if reason is None]
    return kept, {reason: reasons.count(reason) for reason in ("equal", "ngram")}


def turns(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(contents))


LONG = "one two three four five six seven eight nine ten"
CHINESE = "我上周在你们网站买的耳机到现在还没有收到请尽快退款"


@pytest.mark.parametrize(
    ("train", "held_out", "ngram", "reason"),
    [
        ("Where is my parcel?", "Where is my parcel?", None, "equal"),
        ("where IS my parcel", "Where is\n my  parcel?!", 5, "equal"),
        (f"It is {LONG}, he wrote.", f"{LONG} and so on", 10, "ngram"),
        (f"It is {LONG}, he wrote.", f"{LONG} and so on", 11, None),
        (f"It is {LONG}, he wrote.", f"{LONG} and so on", None, None),
        ("one two three", "one two three four", 10, None),
        ("Päckchen verspätet", "PÄCKCHEN verspätet.", 10, "equal"),
        (f"您好，{CHINESE}。", f"{CHINESE}！谢谢", 10, "ngram"),
        (f"您好，{CHINESE}。", "我上周买的书到了", 10, None),
        (CHINESE, " ".join(CHINESE), None, "equal"),
        ("イヤホンがまだ届いていませんので返金", "イヤホンがまだ届いていません。", 10, "ngram"),
        ("snake_case here", "snake case here", None, "equal"),
    ],
)
def test_train_row_that_repeats_a_held_out_one_is_removed(
    train: str, held_out: str, ngram: int | None, reason: str | None
) -> None:
    row = task(train, output="train answer")
    kept, removed = remove([row], [task(held_out)], ngram)
    assert removed == {"equal": 0, "ngram": 0} | ({reason: 1} if reason else {})
    assert kept == ([] if reason else [row])


def test_removed_rows_are_counted_once() -> None:
    train = [task("a b c"), task(f"x {LONG}"), task("d e f"), task(LONG), task("g h i")]
    kept, removed = remove(train, [task(LONG)], 10)
    assert kept == [train[0], train[2], train[4]]
    assert removed == {"equal": 1, "ngram": 1}


def test_shared_instruction_does_not_count_as_overlap() -> None:
    train, test = task("Is it late?", instruction=LONG), task("Is it broken?", instruction=LONG)
    assert remove([train], [test], 10) == ([train], {"equal": 0, "ngram": 0})
    assert remove([task(instruction=LONG)], [task(instruction=f"{LONG} eleven")], 10)[1]["ngram"] == 1


def test_conversations_with_equal_last_turns_differ() -> None:
    train, test = (
        task("Thanks!", history=turns("Where is it?", "Here.")),
        task("Thanks!", history=turns("Who are you?", "A bot.")),
    )
    assert remove([train], [test], 10) == ([train], {"equal": 0, "ngram": 0})
    assert remove([test], [test], 10)[1]["equal"] == 1


def halves(rows: list[Task]) -> tuple[list[Task], list[Task]]:
    return rows[::2], rows[1::2]


PREAMBLE = "Classify the tone of the note below as calm, angry or unclear and answer with one word only.\n\nNote: "
TONES = (("stopped again", "angry"), ("works", "calm"), ("hums", "unclear"))
PEOPLE, THINGS = ("अजय", "विजय", "नेहा"), ("किताब", "मेज", "घड़ी")


def options(number: int) -> Task:
    question = task(
        f"Does salt {number} help plant {number * number}?", output="yes", choices=("yes", "no", "maybe"), kind="choice"
    )
    (row,) = asked("here", question, 0, 1, 1)
    return row


FORMS = {
    "preamble": [task(f"{PREAMBLE}The lift {what} at {place}.", tone) for place in range(10) for what, tone in TONES],
    "preamble of few rows": [task(f"{PREAMBLE}The lift stopped at {place}.") for place in range(8)],
    "options and wrapper": [options(number) for number in range(60)],
    "closing": [task(f"Where is lot {n}? {LONG} eleven twelve") for n in range(30)],
    "preamble in a chat": [task(f"And {n}?", history=turns(f"{PREAMBLE}The lift {n} hums.", "ok")) for n in range(30)],
    "arithmetic": [task(f"{a} {sign} {b} =") for a in range(2, 10) for b in range(2, 6) for sign in "+-*"],
    "Hindi": [task(f"कृपया मुझे बताइए कि {name} की {thing} कहाँ है?") for name in PEOPLE for thing in THINGS],
}


@pytest.mark.parametrize("rows", FORMS.values(), ids=FORMS)
def test_rows_that_share_form_are_kept(rows: list[Task]) -> None:
    train, held_out = halves(rows)
    assert remove(train, held_out, 10) == (train, {"equal": 0, "ngram": 0})


QUESTION = "Why did the green lift of house nine stop twice on Monday while the other one went on?"
COPIES = {
    "equal": task(f"{PREAMBLE}{QUESTION}"),
    "case": task(f"{PREAMBLE}{QUESTION.upper()}"),
    "within": task(f"Dear team, {QUESTION.lower()} Yours, Ann"),
    "earlier turn": task("And then?", history=turns(QUESTION, "It was worn.")),
    "answer": task("Tell me a question.", output=QUESTION),
    "earlier answer": task("Tell me more.", history=turns("Hi", f"You asked: {QUESTION}")),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("others", [0, 30])
def test_copy_of_a_question_is_found_next_to_form(copy: Task, others: int) -> None:
    train = [task(f"{PREAMBLE}The bell {n} rings.") for n in range(others)]
    held_out = [task(f"{PREAMBLE}The lift {n} hums.") for n in range(others)] + [task(PREAMBLE + QUESTION)]
    kept, removed = remove([*train, copy], held_out, 10)
    assert kept == train and sum(removed.values()) == 1


def test_short_question_within_form_is_found() -> None:
    copied = options(3)
    reordered = copied.model_copy(update={"input": copied.input.replace("A. yes\nB. no", "A. no\nB. yes")})
    train = [*(options(number) for number in range(100, 150)), reordered]
    kept, removed = remove(train, [options(number) for number in range(50)], 10)
    assert kept == train[:-1] and removed == {"equal": 1, "ngram": 0}


SHORT = "Why did it stop?"  # fewer words than a run
SHORT_COPIES = {
    "after a greeting": (task(SHORT, history=turns("Hi!", "Hello, how can I help?")), task(SHORT)),
    "in the middle": (task("Thanks", history=turns("Hi!", "Hello", SHORT, "It was worn.")), task(SHORT)),
    "of a chat with a greeting": (task(SHORT), task(SHORT, history=turns("Hi!", "Hello"))),
    "after a Japanese greeting": (task(SHORT, history=turns("こんにちは", "はい")), task(SHORT)),
    "as an answer": (task("Translate: Warum hielt er an?", output=SHORT), task(SHORT, output="Warum hielt er an?")),
    "within an answer": (task("Ask me something.", output=f"Gladly: {SHORT.lower()} Take your time."), task(SHORT)),
    "within quotes": (task(f"A guest asked “{SHORT}” in the lift of house 9 on Monday. Sum it up."), task(SHORT)),
    "within a longer text": (task(f"I took the lift today. {SHORT} It is new, and there was smoke."), task(SHORT)),
    "within a Chinese text": (task("我昨天坐了电梯。它为什么停了？请告诉我。"), task("它为什么停了？")),
}


@pytest.mark.parametrize(("copy", "asked"), SHORT_COPIES.values(), ids=SHORT_COPIES)
def test_short_question_is_found_wherever_it_stands(copy: Task, asked: Task) -> None:
    assert remove([copy], [asked], 10)[1] == {"equal": 1, "ngram": 0}
    assert remove([task("Where is it now?", history=turns("Hi!", "Hello"), output="Over there, sir")], [asked], 10)[0]


OTHER_QUESTIONS = {
    "a longer one": (task("Hello. Why did it stop at floor 9?"), task(SHORT)),
    "a sentence that many may write": (task("It came fast. I like it a lot. It is red."), task("I like it a lot.", "good")),
    "a closing question": (task("My lift hums. Can you help me?"), task("My bell rings. Can you help me?")),
    "a greeting": (task("How are you? My lift hums."), task("How is it?")),
}


@pytest.mark.parametrize(("row", "asked"), OTHER_QUESTIONS.values(), ids=OTHER_QUESTIONS)
def test_row_with_another_short_question_is_kept(row: Task, asked: Task) -> None:
    assert remove([row], [asked], 10) == ([row], {"equal": 0, "ngram": 0})


def test_preamble_of_one_of_many_tasks_is_kept() -> None:
    topics = ("lifts", "bells", "gates", "lamps", "roofs")
    rows = [
        task(f"You know all about {topic}. {' '.join(f'{topic}{n}' for n in range(12))} Why is {topic} {n} late?")
        for n in range(24)
        for topic in topics
    ]
    train, held_out = halves(rows)
    assert remove(train, held_out, 10) == (train, {"equal": 0, "ngram": 0})


def test_question_copied_into_several_rows_is_found() -> None:
    train = [task(f"The bell {n} rings.") for n in range(300)]
    copies = [task(f"Number {n}, dear team, {QUESTION}") for n in range(20)]
    assert remove([*train, *copies], [task(QUESTION)], 10) == (train, {"equal": 0, "ngram": 20})


def test_conversations_unrolled_into_rows_are_found() -> None:
    first, second = turns("My parcel is number 7919, where is it?", "In depot 31."), "And when will it leave?"
    short = task(first[0].content, output="In depot 31.")
    long = task(second, history=first)
    assert remove([long], [short], 10)[1]["equal"] == 1
    assert remove([task("Thanks", history=(*first, *turns(second, "On day 3.")))], [long], None)[1]["equal"] == 1


def test_greeting_in_an_earlier_turn_is_no_copy_of_a_greeting() -> None:
    chats = [task(f"My lift {n} hums.", history=turns("Hi there!", "Hello.")) for n in range(3)]
    assert remove(chats, [task("Hi there")], None) == (chats, {"equal": 0, "ngram": 0})
    assert remove([task("hi there!")], [task("Hi there")], None)[1]["equal"] == 1
    longer = [task("Today.", history=(*chat.history, *turns(chat.input, "Since when?"))) for chat in chats]
    assert remove(longer, chats[:1], None) == (longer[1:], {"equal": 1, "ngram": 0})


def test_texts_are_not_kept_in_memory() -> None:
    words = [f"word{n}" for n in range(50)]

    def rows(first: int) -> Iterator[Task]:
        for n in range(first, first + 100):
            generator = random.Random(n)
            yield task(" ".join(generator.choices(words, k=1000)))

    list(overlap.reasons([task("a")], [task("b")], 10))
    tracemalloc.start()
    try:
        assert set(overlap.reasons(Again(lambda: rows(0)), Again(lambda: rows(100)), 10)) == {None}
        assert tracemalloc.get_traced_memory()[1] < 60 * 100_000  # bytes per word of the held-out rows
    finally:
        tracemalloc.stop()


def test_validation_rows_with_a_prompt_of_the_test_are_left_out() -> None:
    valid = [task("Where is lot 1?"), task(f"Lot 2? {LONG}"), task("And then?", history=turns("where is lot 1", "Here."))]
    assert overlap.apart(valid, [task("where is lot 1"), task(f"Lot 3? {LONG}")]) == valid[1:2]
    assert overlap.apart(valid, []) == valid


@pytest.mark.parametrize("rows", [9, 10, 11])
def test_removal_of_many_rows_is_warned_of(rows: int) -> None:
    warned = overlap.warning({"equal": 0, "ngram": 1}, rows, 10)
    assert (warned is not None) == (rows < 10)
    assert warned is None or "1 of 9 training rows share 10 words in a row" in warned
