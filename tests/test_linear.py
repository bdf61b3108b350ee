"""Long texts from outside take time in proportion to their length, in every pattern and loop that reads them."""

import random
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stages import errors
from stages.commands import judge
from stages.evaluate import answering, choice, extraction, rouge
from stages.fetch import graph
from stages.judging import verdicts
from stages.params import Passage, reading
from stages.records import Call, Document, Example, Fact, Message, Prediction
from stages.report import examples
from stages.synthesize import filters, general_instruct, instances, pairs, rules, self_qa
from stages.tasks import complaints
from stages.teachers import answers, refusals, server
from stages.text import chat, comparing, declining, passages
from stages.text.bm25 import BM25
from stages.text.control import BREAK
from tests.fixtures.instructing import DEFAULT

OPTIONS: Any = SimpleNamespace(limit_field="max_tokens", omit=[])
CHOICES = ["The tea", "The coffee"]


def filled(unit: str, length: int, begin: str = "", end: str = "") -> str:
    return begin + (unit * (length // len(unit) + 1))[:length] + end


def call(text: str) -> Call:
    return Call(messages=(), request="", text=text, stopped=True, prompt_tokens=1, new_tokens=1)


def judged(text: str) -> None:
    verdicts.verdict(call(text))
    judge._marks(call(text))


def filtered(text: str) -> None:
    instances.passed(instances.read(call(text), is_closed=True), "Do it.", "call-1", DEFAULT)


def cut(text: str) -> list[Document]:
    return passages.cut(Document(text=text, kind="document", source="d"), Passage(words=200, overlap=20))


def stated(text: str) -> None:
    passage = Document(text=f"# Gold Account\n{text}", kind="passage", source="d")
    rules.pairs(passage, 3)
    rules.labels(passage)


def scored(score: Callable[..., Any], kind: Any, answer: str, reference: str) -> None:
    messages = (Message(role="user", content="?"), Message(role="assistant", content=reference))
    example = Example(kind=kind, messages=messages, source="s")
    score(example, Prediction(example=example.id, system="s", text=answer, stopped=True, prompt_tokens=1, new_tokens=1))


def shown(text: str, reference: str) -> None:
    messages = (Message(role="user", content="?"), Message(role="assistant", content=reference))
    example = Example(kind="text", messages=messages, source="s")
    answer = Prediction(example=example.id, system="s", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
    examples.compare(example, answer, answer)


def near_misses(facts: list[Fact]) -> None:
    related: dict[str, set[str]] = {}
    for fact in facts:
        related.setdefault(fact.subject, {fact.subject}).add(fact.object)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "MOST_COMPARED", 100)  # the bound; time is in proportion from there on
        graph.near_misses(facts, graph.Graph(facts, related), 8, random.Random(1))


def facts(characters: int, subject: str = "s{}", relation: str = "r", object: str = "o{}") -> list[Fact]:
    """Return facts of about 17 characters; {} in a name is the number of the fact."""
    named = ((subject.format(i), relation.format(i), object.format(i)) for i in range(characters // 17))
    return [Fact(subject=one, relation=two, object=three, source="x") for one, two, three in named]


def split_facts(characters: int) -> None:
    items = SimpleNamespace(trained_facts=5, held_out_facts=5, new_entities=5)
    rows: Any = SimpleNamespace(new_entities=0.5, held_out=0.1, rows=SimpleNamespace(valid=items, test=items))
    graph.split(facts(characters), rows, random.Random(1))


def alternating(length: int) -> None:
    parts = [[chr(0x3400 + number * length // 2 + i) for i in range(length // 2)] for number in range(3)]
    answer, reference = ("".join(a + b for a, b in zip(parts[0], other, strict=True)) for other in parts[1:])
    shown(answer, reference)


def many_passages(length: int) -> None:
    passages = [Document(text=f"a{i} b", kind="p", source=str(i)) for i in range(length // 10)]
    BM25(passages).best(filled("a b ", length))


READERS: dict[str, Callable[[int], Any]] = {
    "verdict: blank lines": lambda n: judged(filled("\n", n, end="x")),
    "verdict: brackets": lambda n: judged(filled("()", n, "Verdict: A (", "x")),
    "verdict: open brackets": lambda n: judged(filled("(", n, "Verdict: A", "x")),
    "mark: signs": lambda n: judged(filled("- ", n, "1", "relevance")),
    "mark: slashes": lambda n: judged(filled("\n*", n, "relevance 5", "x")),
    "letter: blank lines": lambda n: choice.named(filled("\n", n, "B"), CHOICES, by_letter=True),
    "letter: signs": lambda n: choice.named(filled("* ", n, "B ", "x"), CHOICES, by_letter=True),
    "letter: many": lambda n: choice.named(filled("answer: b", n), CHOICES, by_letter=True),
    "letter: cues": lambda n: choice.named(filled("answer is ", n), CHOICES, by_letter=True),
    "letter: boxes": lambda n: choice.named(filled("\\boxed{", n), CHOICES, by_letter=True),
    "address: users": lambda n: reading.PASSWORD.search(filled("x://a:b", n)),
    "address: queries": lambda n: reading.PASSWORD.search(filled("x://?&", n)),
    "address: paths": lambda n: reading.PASSWORD.search(filled("x://a/", n)),
    "comparing: emphasis": lambda n: comparing.exact.__wrapped__(filled("*a_b", n)),
    "comparing: formulas": lambda n: comparing.exact.__wrapped__(filled("$a ", n)),
    "comparing: signs": lambda n: comparing.content.__wrapped__(filled("-+5!", n)),
    "comparing: tags": lambda n: comparing.content.__wrapped__(filled("<a>", n)),
    "choices: repeated words": lambda n: choice.named(filled("the tea ", n), CHOICES, by_letter=False),
    "question number: blanks": lambda n: self_qa.NUMBER.sub("", filled(" ", n, "Q", "x"), count=1),
    "question number: digits": lambda n: self_qa.NUMBER.sub("", filled("1", n, "Q", "x"), count=1),
    "question number: many": lambda n: self_qa.NUMBER.sub("", filled("Q 1 : ", n), count=1),
    "input: blanks": lambda n: instances.read(call(filled(" ", n, "Output: a\nInput", "x")), is_closed=False),
    "output: blanks": lambda n: instances.read(call(filled("\t", n, "Output", "x")), is_closed=False),
    "instances: many": lambda n: filtered(filled("\nClass label: a\nb", n)),
    "listed: digits": lambda n: general_instruct.listed(call(filled("1", n, "3. a\n", ". b")), 2),
    "listed: many": lambda n: general_instruct.listed(call(filled("\n1. a", n)), 2),
    "layout: open segments": lambda n: complaints.fill(filled("[[", n), {}),
    "layout: alternatives": lambda n: complaints.fill(filled("[[||", n, "]]"), {}),
    "layout: segments": lambda n: complaints.fill(filled("[[a||b]]", n), {}),
    "leftovers: brackets": lambda n: filters.leftovers(filled("[", n)),
    "leftovers: digits": lambda n: filters.leftovers(filled("1", n)),
    "heading: blanks": lambda n: passages.HEADING.fullmatch(filled(" ", n, "#", "\n")),
    "heading: long": lambda n: cut(filled("a ", n, "# ") + "\n" + filled("b ", n)),
    "document: blank lines": lambda n: cut(filled("\n", n, "a", "b")),
    "document: sentences": lambda n: cut(filled("a. ", n)),
    "document: short lines": lambda n: cut(filled("ab\n\n\n", n)),
    "statements: blanks": lambda n: stated(filled(" ", n, "a", "b")),
    "statements: digits": lambda n: stated(filled("1", n)),
    "statements: rows": lambda n: stated(filled("| a | b |\n", n)),
    "statements: short lines": lambda n: stated(filled("a\n", n)),
    "statements: short items": lambda n: stated(filled("- a\n", n)),
    "statements: short sentences": lambda n: stated(filled("a. ", n)),
    "rules: words": lambda n: stated(filled("fees have ", n, end="| yes |")),
    "rules: digits": lambda n: stated(filled("1 ", n, "- Fee: ", "|")),
    "rules: amounts": lambda n: stated(filled("the fee of up to ", n)),
    "pointing": lambda n: pairs.self_contained(filled("how long does ", n), {"gold"}),
    "grounded: numbers": lambda n: pairs.grounded(filled("7 ", n), "7 apples"),
    "grounded: characters": lambda n: pairs.grounded(filled("一二金", n), "一二金账户"),
    "declines": lambda n: declining.declines(filled("抱歉,", n)),
    "rouge: words": lambda n: scored(rouge.score, "summary", filled("a b c d ", n), filled("d c b ", n)),
    "rouge: sentences": lambda n: scored(rouge.score, "summary", filled("a\n", n), filled("b\na\n", n)),
    "rouge: one word": lambda n: scored(rouge.score, "summary", filled("一", n), filled("一", n)),
    "answer": lambda n: scored(answering.score, "text", filled("a b c ", n), filled("c b ", n)),
    "object": lambda n: scored(extraction.score, "extraction", filled("[1],", n, '{"a": [', "1]}"), '{"a": 1}'),
    "highlighting: words": lambda n: shown(filled("a b ", n), filled("b c ", n)),
    "highlighting: one character": lambda n: shown(filled("一", n), filled("一二", n)),
    "highlighting: blanks": lambda n: shown(filled(" \n", n), filled("\n\n ", n)),
    "highlighting: alternating": lambda n: alternating(min(n, 10_000)),
    "choice: long options": lambda n: choice.named(
        filled("a ", n), [*(filled("a ", n // 2, end=chr(98 + i)) for i in range(25)), "tea"], by_letter=True
    ),
    "choice: what options share": lambda n: choice.named(
        filled("a ", n // 2, end="z"), [filled("a ", n, end=name) for name in "xy"], by_letter=False
    ),
    "choice: words of an option": lambda n: choice.named(
        filled("a ", n), [filled("a ", n // 2, end="b"), "tea"], by_letter=False
    ),
    "choice: within a word": lambda n: choice.named(filled("-a", n), [filled("-a", n // 2, end="-"), "tea"], by_letter=True),
    "choice: named often": lambda n: choice.named(filled("tea ", n), ["tea", "coffee"], by_letter=True),
    "graph: objects of few subjects": lambda n: near_misses([*facts(n // 2), *facts(n // 2, subject="t{}")]),
    "graph: one object": lambda n: near_misses(facts(n, object="o")),
    "graph: one object among others": lambda n: near_misses([*facts(n // 2), *facts(n // 2, object="o")]),
    "graph: one subject with all objects": lambda n: near_misses([*facts(n // 2, subject="s"), *facts(n // 2)]),
    "graph: one subject with all relations": lambda n: near_misses(facts(n, subject="s", relation="r{}")),
    "graph: split": split_facts,
    "retrieval: passages": many_passages,
    "thoughts: attributes": lambda n: answers.separated(filled("<details type=", n)),
    "thoughts: blank lines": lambda n: answers.separated(filled("\n", n, end="x")),
    "refusal: words": lambda n: refusals.is_of_one(403, filled("prompt is ", n)),
    "refusal: tokens": lambda n: refusals.remedy(filled("max tokens expected ", n), OPTIONS),
    "control tokens: signs": lambda n: server.CONTROL.search(filled("<|a", n)),
    "control tokens: brackets": lambda n: server.CONTROL.search(filled("]<]", n)),
    "control tokens: names": lambda n: server.CONTROL.search(filled("<unused", n)),
    "key: slashes": lambda n: server._spellings("sk-a/b").search(filled("\\", n)),
    "key: beginnings": lambda n: server._spellings("sss-a/b").search(filled("s", n)),
    "parameters: addresses": lambda n: reading.PASSWORD.search(filled("a://:", n)),
    "parameters: addresses without scheme": lambda n: reading.PASSWORD.search(filled("a:b@", n)),
    "parameters: passwords": lambda n: reading.PASSWORD.search(filled(":", n, "a://")),
    "error: addresses": lambda n: errors.reason(ValueError(filled("://", n))),
    "error: users": lambda n: errors.reason(ValueError(filled("a:@", n))),
    "retrieval": lambda n: BM25([Document(text=filled("a b c ", n), kind="p", source="s")]).best(filled("c d ", n)),
}


@pytest.mark.parametrize("name", READERS)
def test_long_text_takes_time_in_proportion(name: str) -> None:
    def seconds(length: int) -> float:
        started = time.process_time()
        READERS[name](length)
        return time.process_time() - started

    READERS[name](10)  # compiles and loads what it needs
    assert seconds(50_000) < 1 or seconds(50_000) < 30 * min(seconds(5_000) for _ in range(3))


@pytest.mark.model
@pytest.mark.parametrize("text", ["x", "<|im_end|>", "<", BREAK])
def test_long_message_takes_time_in_proportion(tokenizer: Any, text: str) -> None:
    def seconds(length: int) -> float:
        started = time.process_time()
        chat.encode(tokenizer, [Message(role="user", content=filled(text, length)), Message(role="assistant", content="a")])
        return time.process_time() - started

    seconds(10)
    assert seconds(50_000) < 1 or seconds(50_000) < 30 * min(seconds(5_000) for _ in range(3))


@pytest.mark.model
@pytest.mark.parametrize("text", ["x", "<|im_end|>", "<", BREAK])
def test_turn_of_a_long_chat_is_tokenised_once(tokenizer: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All turns before each answer are rendered, which takes quadratic time, but little of it: a second for 1,724 turns.

    An answer is read twice: its end is looked at alone.
    """
    turns = [Message(role="assistant" if i % 2 else "user", content=text) for i in range(1_724)]
    read, rendered, ids, render = [], [], chat._ids, chat._rendered

    def counted(tokenizer: Any, text: str) -> list[int]:
        read.append(len(text))
        return ids(tokenizer, text)

    def observed(tokenizer: Any, turns: Any, *how: Any, **named: Any) -> str:
        rendered.append(len(turns))
        return render(tokenizer, turns, *how, **named)

    monkeypatch.setattr(chat, "_ids", counted)
    monkeypatch.setattr(chat, "_rendered", observed)
    chat.encode(tokenizer, turns)
    assert rendered == list(range(1, len(turns) + 1))  # once before each answer, once after it
    assert sum(read) < 2 * len(chat.render(tokenizer, turns, answer_next=False))


@pytest.mark.parametrize("number", range(len(rules._rules()["statements"])))
def test_no_rule_takes_long_for_the_longest_statement(number: int) -> None:
    rule = rules._rules()["statements"][number].match
    statements = [
        filled(unit, rules.LONGEST_STATEMENT, begin)[: rules.LONGEST_STATEMENT - 2] + end
        for begin in ("", "you can ", "if a", "keep ", "a | ")
        for unit in ("1 ", "a ", "is may ", "up to 1 fees ", "the a of ", "to avoid ", "如果是")
        for end in ("", " |")
    ]
    started = time.process_time()
    for statement in statements:
        rule.fullmatch(statement)
    assert time.process_time() - started < 2


def test_a_statement_beyond_the_limit_matches_no_rule() -> None:
    line = "- Monthly fee: $10.00"
    assert rules.pairs(Document(text=f"# Gold Account\n{line}", kind="passage", source="d"), 1)
    long = f"# Gold Account\n- {'Monthly ' * 125}fee: $10.00"
    assert rules.pairs(Document(text=long, kind="passage", source="d"), 1) == []
