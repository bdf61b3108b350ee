"""A user's own file: what is read, and the split of each row."""

import json
import logging
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import rows
from stages.records import Message, Style, Task
from tests.fixtures.own_rows import ASKED, CHAT, GROUPED, jsonl, questions, read, save, settings

THREE = [
    {"instruction": "Antworte kurz.", "input": "Wo bleibt, was ich bestellte?\nIch warte.", "output": 'Es ist "unterwegs".'},
    {"instruction": "提取姓名", "input": "我叫王小明。", "output": "王小明"},
    {"instruction": "Say hello.", "input": "", "output": "Hello"},
]


THREE_AS_CSV = (
    "instruction,input,ignored,output\n"
    'Antworte kurz.,"Wo bleibt, was ich bestellte?\nIch warte.",x,"Es ist ""unterwegs""."\n'
    "\n"
    "提取姓名,我叫王小明。,x,王小明\n"
    "Say hello.,,x,Hello\n"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.csv", THREE_AS_CSV),
        ("mine.csv", "\ufeff" + THREE_AS_CSV),
        ("mine.csv", THREE_AS_CSV.replace("\n", "\r\n")),
        ("mine.CSV", THREE_AS_CSV + ",,,\n"),
        ("mine.jsonl", "\ufeff" + "\r\n".join(json.dumps(row) for row in THREE) + "\r\n\r\n"),
        ("mine.json", json.dumps(THREE, ensure_ascii=False, indent=2)),
        ("mine.json", json.dumps([{**row, "input": row["input"] or None, "ignored": 7} for row in THREE])),
    ],
    ids=["csv", "csv-bom", "csv-windows", "csv-blank-last-row", "jsonl-bom-windows", "json", "json-null"],
)
def test_the_same_rows_in_any_format_are_the_same_tasks(tmp_path: Path, name: str, content: str) -> None:
    found = read(save(tmp_path, name, content), {"instruction": "instruction", **ASKED})
    assert [{"instruction": task.instruction, "input": task.input, "output": task.output} for task in found] == THREE
    assert [task.id for task in found] == [
        task.id for task in read(jsonl(tmp_path, THREE), {"instruction": "instruction", **ASKED})
    ]


def test_unnamed_columns_are_ignored(tmp_path: Path) -> None:
    path = save(tmp_path, "mine.csv", ",Frage,Antwort,input\n0,Wer?,Ich,zzz\n")
    (task,) = read(path, {"input": "Frage", "output": "Antwort"})
    assert (task.input, task.output, task.instruction, task.system) == ("Wer?", "Ich", "", "")


def test_default_system_prompt_fills_empty_ones(tmp_path: Path) -> None:
    path = save(tmp_path, "mine.csv", "sys,input,output\nBe kind.,a,b\n,c,d\n")
    assert [task.system for task in read(path, {"system": "sys", **ASKED}, system="Be brief.")] == ["Be kind.", "Be brief."]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_messages_become_system_history_input_and_output(tmp_path: Path, suffix: str) -> None:
    turns = [("system", "Be kind."), ("user", "你好"), ("assistant", "您好"), ("user", "Who?"), ("assistant", "Me")]
    messages = json.dumps([{"role": role, "content": content} for role, content in turns], ensure_ascii=False)
    quoted = messages.replace('"', '""')
    content = f'{{"messages": {messages}}}\n' if suffix == "jsonl" else f'messages\n"{quoted}"\n'
    (task,) = read(save(tmp_path, f"mine.{suffix}", content), CHAT, system="unused")
    assert task.history == (Message(role="user", content="你好"), Message(role="assistant", content="您好"))
    assert (task.system, task.instruction, task.input, task.output) == ("Be kind.", "", "Who?", "Me")


def test_an_extraction_output_may_be_an_object_or_its_text(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"input": "a", "output": {"姓名": "王", "age": None}}, {"input": "b", "output": '{"姓名": "李"}'}])
    first, second = read(path, task="extraction")
    assert (first.kind, first.output, second.output) == ("extraction", '{"姓名": "王", "age": null}', '{"姓名": "李"}')


def test_a_field_of_a_million_characters_is_read(tmp_path: Path) -> None:
    (task,) = read(save(tmp_path, "mine.csv", f"input,output\n{'字' * 1_000_000},b\n"))
    assert len(task.input) == 1_000_000


def test_template_syntax_in_content_stays_text(tmp_path: Path) -> None:
    (task,) = read(jsonl(tmp_path, [{"input": "{{ 7 * 7 }} {% raw %} ${HOME} <|im_end|>", "output": "{}"}]))
    assert task.input == "{{ 7 * 7 }} {% raw %} ${HOME} <|im_end|>"


def places(found: dict[str, list[Task]]) -> dict[str, str]:
    return {task.input: split for split, tasks in found.items() for task in tasks}


def test_splits_have_their_shares_and_keep_the_order(tmp_path: Path) -> None:
    found = rows.tasks(settings(jsonl(tmp_path, questions(2000)), ASKED, valid=0.1, test=0.2), seed=1)
    assert {split: round(len(tasks) / 2000, 1) for split, tasks in found.items()} == {"train": 0.7, "valid": 0.1, "test": 0.2}
    for tasks in found.values():
        assert list(tasks) == sorted(tasks, key=lambda task: int(task.input.split()[1]))


def test_other_settings_move_no_test_row(tmp_path: Path) -> None:
    shares = {"valid": 0.1, "test": 0.2}
    before = places(rows.tasks(settings(jsonl(tmp_path, questions(300)), ASKED, **shares), seed=1))
    more = jsonl(tmp_path, [{"input": "new", "output": "row"}, *reversed(questions(300))])
    after = places(rows.tasks(settings(more, ASKED, **shares, system="Be brief."), seed=1))
    assert after == before | {"new": after["new"]}
    wider = places(rows.tasks(settings(more, ASKED, valid=0.3, test=0.2), seed=1))
    assert {text for text, split in wider.items() if split == "test"} == {
        text for text, split in after.items() if split == "test"
    }


def test_another_seed_gives_another_split(tmp_path: Path) -> None:
    data = settings(jsonl(tmp_path, questions(300)), ASKED, valid=0.1, test=0.2)
    assert places(rows.tasks(data, seed=1)) != places(rows.tasks(data, seed=2))


def test_rows_of_one_group_stay_together(tmp_path: Path) -> None:
    data = settings(jsonl(tmp_path, questions(400)), GROUPED, valid=0.2, test=0.3)
    sources = [{task.source for task in tasks} for tasks in rows.tasks(data, seed=1).values()]
    assert set.union(*sources) == {f"p{number}" for number in range(40)}
    assert sum(map(len, sources)) == 40


def test_a_group_may_be_a_number(tmp_path: Path) -> None:
    (task,) = read(jsonl(tmp_path, [{"input": "a", "output": "b", "who": 7}]), GROUPED)
    assert task.source == "7"


def test_equal_prompts_stay_in_one_split(tmp_path: Path) -> None:
    twins = [
        {"input": text, "output": f"answer {text}"}
        for row in questions(200)
        for text in (row["input"], row["input"].title() + " \n")
    ]
    found = rows.tasks(settings(jsonl(tmp_path, twins), ASKED, valid=0.2, test=0.3), seed=1)
    sources = [{task.source for task in tasks} for tasks in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 200
    assert all(source.startswith("row-") and len(source) == 16 for source in set.union(*sources))


def unrolled(turns: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each answer of a conversation: the turns up to it."""
    chat = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]
    return [{"messages": chat[:end]} for end in range(2, len(chat) + 1, 2)]


# Turns of conversation n; those before a conversation differs from others are rows of their own.
OPENINGS: dict[str, Callable[[int], list[str]]] = {
    "question": lambda n: [f"Where is parcel {n}?", "In depot 3.", "And when?", "Today.", "Thanks", "Welcome"],
    "greeting": lambda n: ["Hi!", "Hello.", f"Where is parcel {n}?", "In depot 3.", "And when?", "Today."],
    "greetings": lambda n: ["Hi!", "Hello.", "Hey", "Yes?", f"Parcel {n}", "In depot 3.", "And when?", "Today."],
    "number": lambda n: [f"Parcel {n}", "In depot 3.", "And when?", f"Day {n}."],
    "arithmetic": lambda n: [f"{n} + 2 =", str(n + 2), "times 3?", str(3 * n + 6)],
    "Chinese": lambda n: [f"包裹{n}在哪里？", "三号仓库", "什么时候到？", "今天"],
    "Chinese greeting": lambda n: ["你好", "您好！", f"包裹{n}在哪里？", "三号仓库", "什么时候到？", "今天"],
    "Hindi": lambda n: [f"पार्सल {n} कहाँ है?", "डिपो 3 में", "और कब?", "आज"],
    "code": lambda n: [f"x{n} = [] + []", "ok", f"x{n}.append(1)", "ok", f"print(x{n})", "[1]"],
    "long": lambda n: [f"Note {n}: " + "the lift hums " * 300, "ok", "Why?", "It is worn."],
    "case": lambda n: [f"Where IS  parcel\n{n}?", "In depot 3.", "And when?", "Today."],
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_unrolled_conversations_stay_in_one_split(tmp_path: Path, opening: Callable[[int], list[str]]) -> None:
    greetings = [text for text in opening(1)[::2] if text in ("Hi!", "Hey", "你好")]
    every = [row for n in range(60) for row in unrolled(opening(n))]
    found = rows.tasks(settings(jsonl(tmp_path, every), CHAT, valid=0.2, test=0.3), seed=1)
    own = Counter(task.source for tasks in found.values() for task in tasks)
    sources = [{task.source for task in tasks} for tasks in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources))
    assert {n for n in own.values() if n > 1} == {len(opening(1)) // 2 - len(greetings)}
    assert {task.input for tasks in found.values() for task in tasks if own[task.source] == 1} == set(greetings)


@pytest.mark.parametrize(("first", "warned"), [("How can you help me?", True), ("Hi", False)])
def test_first_turn_of_many_rows_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str, warned: bool
) -> None:
    alike = [row for n in range(60) for row in unrolled([first, "Yes.", f"Where is parcel {n}?", "In depot 3."])]
    with caplog.at_level(logging.WARNING), suppress(DataError):  # one of the two splits gets no row
        read(jsonl(tmp_path, alike), CHAT, valid=0.5)
    assert ("61 of 61 rows begin with the same prompt, so they are in one split" in caplog.text) == warned
    caplog.clear()
    with caplog.at_level(logging.WARNING), suppress(DataError):
        read(jsonl(tmp_path, [row | {"who": "all"} for row in alike]), {**CHAT, "group": "who"}, valid=0.5)
    assert "same prompt" not in caplog.text


def test_exact_repetitions_are_kept_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    again = [*questions(5), *questions(3), {"input": "question 0", "output": "another answer"}]
    with caplog.at_level(logging.WARNING):
        assert [task.output for task in read(jsonl(tmp_path, again))][-2:] == ["answer 4", "another answer"]
    assert "mine.jsonl: 3 rows left out" in caplog.text


@pytest.mark.parametrize("kind", ["text", "classification"])
def test_rows_are_not_kept_in_memory(tmp_path: Path, kind: str) -> None:
    path = jsonl(tmp_path, [{"input": f"{n} " + "x " * 5000, "output": f"answer {n % 3}"} for n in range(1000)])
    tracemalloc.start()
    try:
        found = rows.tasks(settings(path, ASKED, task=kind, valid=0.1, test=0.2), seed=1)
        assert sum(1 for tasks in found.values() for _ in tasks) == 1000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    finally:
        tracemalloc.stop()


LABELLED = [{"input": f"text {number}", "output": ("good", "bad ", "unclear")[number % 3]} for number in range(30)]


def test_labels_of_the_data_are_the_choices_of_every_row(tmp_path: Path) -> None:
    found = rows.tasks(settings(jsonl(tmp_path, LABELLED), ASKED, task="classification", valid=0.2, test=0.3), seed=1)
    every = [task for tasks in found.values() for task in tasks]
    assert {(task.kind, task.choices) for task in every} == {("classification", ("bad", "good", "unclear"))}
    assert all(task.output in task.choices for task in every)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["x", "x"], "every row has the label 'x'"),
        (["Good", "bad", "good"], "the labels 'Good' and 'good' differ only in case"),
        ([str(number) for number in range(40)], "40 different labels in 40 rows are not classes; set data.task=text"),
        (["good", 1], "mine.jsonl:2: 'output' is 1, not a label's name; set data.labels"),
        ([1.0, 0.0], "mine.jsonl:1: 'output' is 1, not a label's name; set data.labels"),
        ([["good", "bad"], ["bad"]], "mine.jsonl:1: 'output' is a list, but a classification has one label per row"),
        ([True, False], "mine.jsonl:1: 'output' is true, not a label's name; set data.labels"),
        (["good", " "], "mine.jsonl:2: 'output' is empty"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: list[Any], expected: str) -> None:
    path = jsonl(tmp_path, [{"input": f"text {number}", "output": label} for number, label in enumerate(labels)])
    with pytest.raises(DataError, match=expected):
        read(path, task="classification")


STYLED = {**ASKED, "style": "form"}


@pytest.mark.parametrize(
    ("form", "style"),
    [
        ({"max_words": 40}, Style(max_words=40)),
        ({"min_words": 5, "max_words": 5, "required": ["Ünï"]}, Style(min_words=5, max_words=5, required=("Ünï",))),
        ({"min_words": None, "max_words": 9, "required": None, "forbidden": ["a b"]}, Style(max_words=9, forbidden=("a b",))),
        ('{"required": ["x", "y"]}', Style(required=("x", "y"))),
        (None, None),
        ("", None),
        ({}, None),
    ],
)
def test_style_of_a_row_is_read(tmp_path: Path, form: Any, style: Style | None) -> None:
    (task,) = read(jsonl(tmp_path, [{"input": "q", "output": "x y z w Ünï", "form": form}]), STYLED)
    assert task.style == style


def test_style_in_a_table_and_beside_a_chat_is_read(tmp_path: Path) -> None:
    table = 'input,output,form\nq,a,"{""max_words"": 3}"\nr,b,\n'
    assert [task.style for task in read(save(tmp_path, "mine.csv", table), STYLED)] == [Style(max_words=3), None]
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = jsonl(tmp_path, [{"messages": chat, "form": {"max_words": 3}}, {"messages": [*chat, *chat]}])
    assert [task.style for task in read(path, {**CHAT, "style": "form"})] == [Style(max_words=3), None]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"words": 3}, "words: Extra inputs are not permitted"),
        ({"max_words": "3"}, "max_words: Input should be a valid integer"),
        ({"max_words": True}, "max_words: Input should be a valid integer"),
        ({"max_words": 0}, "max_words: Input should be greater"),
        ({"min_words": -1}, "min_words: Input should be greater"),
        ({"min_words": 9, "max_words": 3}, "min_words = 9 is above max_words = 3"),
        ({"required": "sorry"}, "required: Input should be a valid"),
        ({"required": [" "]}, "required.0: String should match"),
        ({"required": ["Sorry"], "forbidden": ["sorry"]}, "'sorry' is both required and forbidden"),
        (["max_words", 3], "must be an object like"),
        ("short", "is not JSON"),
        ({"required": ["\ud83d"]}, r"holds \u0000 or half of a surrogate pair"),
    ],
)
def test_style_that_cannot_be_met_or_read_is_refused(tmp_path: Path, form: Any, expected: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"input": "q", "output": "a", "form": form}) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as refusal:
        read(path, STYLED)
    assert str(refusal.value).startswith(f"{path}:1: 'form'")
    assert expected in str(refusal.value)


BREAKING = [
    ("one two three", {"max_words": 2}, "length_in_band"),
    ("one", {"min_words": 2, "required": ["two"]}, "length_in_band, required_phrases"),
    ("We Guarantee it.", {"forbidden": ["guarantee"]}, "no_forbidden_phrases"),
]


@pytest.mark.parametrize(("answer", "form", "demands"), BREAKING)
def test_answers_that_break_their_own_style_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: str, form: Any, demands: str
) -> None:
    rows = [{"input": f"q{n}", "output": answer, "form": form if n > 1 else {"max_words": 9} if n else None} for n in range(4)]
    with caplog.at_level(logging.WARNING):
        read(jsonl(tmp_path, rows), STYLED)
    assert (
        f"mine.jsonl: 2 of 3 right answers break their own style, the first {tmp_path}/mine.jsonl:3 by {demands};"
        in caplog.text
    )
    assert "correct 'form' or them" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read(jsonl(tmp_path, rows[:2]), STYLED)
    assert caplog.text == ""


@pytest.mark.parametrize(("answer", "form", "demands"), BREAKING)
def test_style_that_every_answer_breaks_is_refused(tmp_path: Path, answer: str, form: Any, demands: str) -> None:
    rows = [{"input": f"q{n}", "output": answer, "form": form if n else None} for n in range(3)]
    with pytest.raises(
        DataError, match=rf"mine\.jsonl: every right answer with a style breaks it, the first \S+:2 by {demands};"
    ):
        read(jsonl(tmp_path, rows), STYLED)


def test_style_of_a_choice_is_that_of_its_whole_answer(tmp_path: Path) -> None:
    row = {"input": "q", "choices": ["red", "blue"], "output": "red", "form": {"min_words": 5, "required": ["correct"]}}
    (task,) = read(jsonl(tmp_path, [row]), {**STYLED, "options": "choices"}, task="choice")
    assert task.output == "The correct answer is red."


NAMES = {"0": "negative", "1": "positive"}


@pytest.mark.parametrize(
    ("name", "content", "labels", "expected"),
    [
        ("mine.jsonl", '{"input": "a", "output": 0}\n{"input": "b", "output": 1}\n', NAMES, ["negative", "positive"]),
        ("mine.csv", "input,output\na,0\nb, 1 \n", NAMES, ["negative", "positive"]),
        ("mine.jsonl", '{"input": "a", "output": -1}\n{"input": "b", "output": 1}\n', {-1: "no", 1: "yes"}, ["no", "yes"]),
        ("mine.csv", "input,output\na,B-ORG\nb,O\n", {"O": "none", "B-ORG": "company"}, ["company", "none"]),
        (
            "mine.jsonl",
            '{"input": "a", "output": true}\n{"input": "b", "output": false}\n',
            {True: "t", False: "f"},
            ["t", "f"],
        ),
        ("mine.jsonl", '{"input": "a", "output": 1.0}\n{"input": "b", "output": 0.0}\n', NAMES, ["positive", "negative"]),
        ("mine.csv", "input,output\na,1.0\nb,0.0\n", NAMES, ["positive", "negative"]),
        ("mine.csv", "input,output\na,True\nb,False\n", {True: "t", False: "f"}, ["t", "f"]),
        ("mine.tsv", "input\toutput\na\t1.0\nb\t2.0\n", {"1.0": "bad", "2.0": "good"}, ["bad", "good"]),
        ("mine.csv", "input,output\na,1\nb,2\nc,5\n", {1: "bad", 2: "bad", 5: "good"}, ["bad", "bad", "good"]),
    ],
    ids=[
        "numbers",
        "digits in CSV",
        "from -1",
        "codes",
        "truth values",
        "floats",
        "floats in CSV",
        "truth values in CSV",
        "digits of pandas",
        "several codes of one class",
    ],
)
def test_codes_get_the_names_of_their_labels(
    tmp_path: Path, name: str, content: str, labels: dict[Any, str], expected: list[str]
) -> None:
    tasks = read(save(tmp_path, name, content), task="classification", labels=labels)
    assert [task.output for task in tasks] == expected
    assert {task.choices for task in tasks} == {tuple(sorted({*expected}))}


def test_answers_that_stand_for_lost_values_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path, "mine.csv", "input,output\na,nan\nb,#NAME?\nc,#NAME?\nd,banana\n")
    with caplog.at_level(logging.WARNING):
        assert len(read(path)) == 4
    assert caplog.messages == [f"{path}: 3 answers are nan or #NAME?, which stands for a lost value; check them"]


@pytest.mark.parametrize("task", ["text", "classification"])
def test_list_of_one_answer_is_the_answer(tmp_path: Path, task: str) -> None:
    path = jsonl(tmp_path, [{"input": "a", "output": ["x"]}, {"input": "b", "output": ["y", "y"]}])
    assert [found.output for found in read(path, task=task)] == ["x", "y"]


def test_label_of_a_chat_gets_its_name(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": text}, {"role": "assistant", "content": label}] for text, label in ("a0", "b1")]
    path = jsonl(tmp_path, [{"messages": chat} for chat in chats])
    assert [task.output for task in read(path, CHAT, task="classification", labels=NAMES)] == ["negative", "positive"]


@pytest.mark.parametrize("label", [2, "negative", "", 0.5, None, "00"])
def test_label_without_a_name_is_refused(tmp_path: Path, label: Any) -> None:
    path = jsonl(tmp_path, [{"input": "a", "output": 0}, {"input": "b", "output": label}])
    with pytest.raises(DataError, match=r"mine\.jsonl:2: 'output' is '.*', but data\.labels has names for 0, 1; add one"):
        read(path, task="classification", labels=NAMES)


@pytest.mark.parametrize("code", ["no", "No", "yes", "off"])
def test_label_that_yaml_reads_as_false_is_named(tmp_path: Path, code: str) -> None:
    path = jsonl(tmp_path, [{"input": "a", "output": code}])
    with pytest.raises(DataError, match=f"write '{code}' in quotes there, since YAML reads {code} as true or false"):
        read(path, task="classification", labels={False: "bad", True: "good"})


@pytest.mark.parametrize(("first", "second"), [("0", "1"), ("-1", "1"), ("0.0", "1.0")])
def test_labels_that_are_numbers_are_named(tmp_path: Path, first: str, second: str, caplog: pytest.LogCaptureFixture) -> None:
    read(save(tmp_path, "mine.csv", f"input,output\na,{first}\nb,{second}\n"), task="classification")
    assert f"mine.csv: the labels are {first}, {second}; if they stand for names, set data.labels" in caplog.text
    caplog.clear()
    read(jsonl(tmp_path, LABELLED), task="classification")
    assert caplog.text == ""


def test_translation_of_own_rows_is_scored_as_one(tmp_path: Path) -> None:
    (task,) = read(jsonl(tmp_path, [{"input": "Haus", "output": "house"}]), task="translation")
    assert (task.kind, task.output) == ("translation", "house")


PAIR = {"translation": {"de": "Guten Tag", "en": "Hello", "meta": {"id": 7}}}


def test_value_within_an_object_is_named_by_its_path(tmp_path: Path) -> None:
    columns = {"input": "translation.de", "output": "translation.en"}
    (found,) = read(jsonl(tmp_path, [PAIR]), columns, task="translation")
    assert (found.input, found.output) == ("Guten Tag", "Hello")
    (found,) = read(jsonl(tmp_path, [{**PAIR, "translation.de": "Moin"}]), columns, task="translation")
    assert found.input == "Moin"


@pytest.mark.parametrize("name", ["translation.fr", "translation.de.x", "translations.de", "translation."])
def test_path_to_nothing_is_refused_with_the_columns(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"no column '{name}'.*There are .*'translation'"):
        read(jsonl(tmp_path, [PAIR]), {"input": "translation.de", "output": name})


ASKED_OF = {"input": "question", "options": "options", "output": "answer_idx"}


@pytest.mark.parametrize("answer", ["A", "red"])
def test_two_columns_that_name_two_options_are_refused(tmp_path: Path, answer: str) -> None:
    row = {"question": "q", "options": ["red", "green"], "answer": answer, "answer_idx": 1}
    with pytest.raises(DataError, match=r"mine\.jsonl:1: 'answer_idx' names the option 'green', 'answer' the option 'red'"):
        read(jsonl(tmp_path, [row]), ASKED_OF, task="choice")
    for agreed in ("B", "green", "It is green, since …"):
        read(jsonl(tmp_path, [row | {"answer": agreed}]), ASKED_OF, task="choice")


def test_letters_that_options_bring_are_not_their_text(tmp_path: Path) -> None:
    row = {"question": "q", "options": ["A. red", "B) green", "C: blue"], "answer_idx": "B"}
    (found,) = read(jsonl(tmp_path, [row]), ASKED_OF, task="choice")
    assert [choice.endswith(text) for choice, text in zip(found.choices, ("red.", "green.", "blue."), strict=True)]
    assert not any("A. red" in choice for choice in found.choices)


def test_number_that_begins_as_its_key_is_whole(tmp_path: Path) -> None:
    row = {"question": "q", "options": {"1": "1.5", "2": "2.7"}, "answer_idx": "2"}
    (found,) = read(jsonl(tmp_path, [row]), ASKED_OF, task="choice")
    assert found.choices == ("The correct answer is 1.5.", "The correct answer is 2.7.")


def test_number_of_a_label_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'label' is 1, a label's number; set data\.task=classification and data\.labels"):
        read(jsonl(tmp_path, [{"text": "a", "label": 1}]), {"input": "text", "output": "label"})


def test_null_within_an_object_is_empty(tmp_path: Path) -> None:
    rows = [PAIR, {"translation": {"de": "Tag", "en": None}}]
    with pytest.raises(DataError, match=r"mine\.jsonl:2: 'translation\.en' is empty"):
        read(jsonl(tmp_path, rows), {"input": "translation.de", "output": "translation.en"})
