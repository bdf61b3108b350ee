"""The rule-based generator: statements of a passage become questions and answers by the wordings of rules.yaml.

It understands nothing, but its answers are the document's own words. Values are inserted once and never read as templates.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from stages.passages import HEADING, SENTENCE_END, WORD, headings
from stages.records import Document, content_hash

LONGEST = 45  # words of an answer
ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)、])\s+")
LABELLED = re.compile(r"(?!(?:tips?|notes?|examples?): )([^:：.?!。]{2,80})(?:: |：)(.+)", re.IGNORECASE)
PLAIN_COLUMN = re.compile(r"(.* )?(value|details?|amount|description)|availability.*|(how|what) .*|数值|值|内容|说明|金额", re.IGNORECASE)
SLOT = re.compile(r"\{(the |a )?(\w+)\}")
LEFTOVER = re.compile(r"\[\[|\{\{|\*\*|`")  # what a careless template left in a document
MANY = re.compile(r"(?<!s)s$")
TO_FIRST_PERSON = [
    (re.compile(rf"\b{second}\b", re.IGNORECASE), first)
    for second, first in (
        ("yours", "mine"),
        ("your", "my"),
        ("yourself", "myself"),
        ("you are", "I am"),
        ("you’re|you're", "I am"),
        (r"(?<=help |ting |lows |llow |tify |give |ives |with |from )you|(?<=\bto |for )you", "me"),
        ("you", "I"),
    )
]


@dataclass(frozen=True)
class Rule:
    match: re.Pattern[str]
    ask: Sequence[str]
    answer: str


def pairs(passage: Document, wordings: int) -> list[tuple[str, str]]:
    """Questions and answers, at most `wordings` of each statement; which ones depends on the statement alone."""
    known = headings(passage)
    over = {"subject": known[0], "title": known[min(1, len(known) - 1)], "heading": known[-1]}
    found = []
    for statement in statements(passage):
        matched = [(rule, match) for rule in _rules()["statements"] if (match := rule.match.fullmatch(statement))]
        matched = matched or [(rule, match) for rule in _rules()["otherwise"] if (match := rule.match.fullmatch(statement))]
        turn = int(content_hash(statement)[:4], 16)
        made = [_worded(rule, {**match.groupdict(""), **over}, turn) for rule, match in matched]
        found += [pair for tier in zip_longest(*made) for pair in tier if pair][:wordings]
    return [(question, answer) for question, answer in found if len(WORD.findall(answer)) <= LONGEST]


def statements(passage: Document) -> list[str]:
    """Sentences; "label | value" from lists; "label | value" or "column | row | value" from tables; "heading | list" of steps."""
    lines = [line.rstrip() for line in passage.text.split("\n") if line.strip() and not HEADING.fullmatch(line)]
    heading = headings(passage)[-1]
    found, header = [], []
    for line, after in zip_longest(lines, lines[1:], fillvalue=""):
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found += _row(header, cells) if header else []
            header = header or cells
            continue
        header = []
        text = ITEM.sub("", line, count=1).strip()
        nested = ITEM.match(after) and len(after) - len(after.lstrip()) > len(line) - len(line.lstrip())
        if text.endswith(("?", "？")) and nested:
            found.append(f"{text} | {ITEM.sub('', after, count=1)}")
        elif not (nested and text.endswith((":", "："))):
            found += _said(text, heading)
    steps = [ITEM.sub("", line, count=1) for line in lines if ITEM.match(line)] or lines
    if steps and re.match(r"how to |.*[?？]$", heading, re.IGNORECASE):
        found.append(f"{heading} | {' '.join(steps)}")
    return [_stripped(statement) for statement in found if not LEFTOVER.search(statement)]


def labels(passage: Document) -> list[str]:
    """What the passage gives values for."""
    return [said.split(" | ")[0] for said in statements(passage) if said.count(" | ") == 1 and "?" not in said]


def unsaid(subject: str, label: str, said: set[str]) -> Iterator[str]:
    """Questions whose answer no text with the words `said` holds."""
    for question in _rules()["unsaid"]:
        if said.isdisjoint(question["unless"]):
            yield _filled(question["ask"], {"subject": subject, "label": label}, in_question=True)


def _row(header: list[str], cells: list[str]) -> list[str]:
    if all(set(cell) <= set(":- ") for cell in cells):
        return []
    columns = list(zip(header, cells, strict=False))[1:]
    return [
        f"{cells[0]} | {cell}" if PLAIN_COLUMN.fullmatch(column) else f"{column} | {cells[0]} | {cell}"
        for column, cell in columns
        if cell
    ]


def _said(text: str, heading: str) -> list[str]:
    """An item "Silver Card: +0.2%" below "Card bonuses" says what the bonus is for that card; others speak for themselves."""
    if not (labelled := LABELLED.fullmatch(text)):
        return SENTENCE_END.split(text)
    label, value = labelled.groups()
    thing = _singular(re.split(r" (?:from|for|of|with|in|per|on) ", heading)[0])
    if _is_name(label) and MANY.search(heading) and thing.split()[-1].lower() not in label.lower():
        return [f"{thing} | {label} | {value}"]
    return [f"{label} | {value}"]


def _worded(rule: Rule, values: dict[str, str], turn: int) -> list[tuple[str, str]]:
    asks = [rule.ask[(turn + number) % len(rule.ask)] for number in range(len(rule.ask))]
    return [(_filled(ask, values, in_question=True), _filled(rule.answer, values, in_question=False)) for ask in asks]


def _filled(wording: str, values: dict[str, str], in_question: bool) -> str:
    def value(match: re.Match[str]) -> str:
        article, text = match[1], values[match[2]]
        if in_question and match[2] != "subject":
            text = _first_person(text)
        if match[2] not in ("subject", "question") and match.start():
            text = _lowered(text)
        if article == "the " and _is_name(text):
            return f"the {text}"
        return f"{_article(text)}{text}" if article == "a " else text

    text = SLOT.sub(value, wording).strip()
    return text[0].upper() + text[1:] if in_question else text


def _first_person(text: str) -> str:
    for second, first in TO_FIRST_PERSON:
        text = second.sub(first, text)
    return text


def _is_name(text: str) -> bool:
    """At least two words that all begin with a capital, a digit or a bracket."""
    words = text.split()
    return len(words) > 1 and not re.match(r"(?:the|an?) ", text, re.IGNORECASE) and not any(w[0].islower() for w in words)


def _lowered(text: str) -> str:
    first, _, rest = text.partition(" ")
    return text if first[1:] != first[1:].lower() or len(first) < 2 or rest[:1].isupper() else text[0].lower() + text[1:]


def _article(text: str) -> str:
    if MANY.search(text) or re.match(r"(?:the|an?|my|no) |\W|\d", text, re.IGNORECASE):
        return ""
    sounds_open = re.match(r"[AEFHILMNORSX][A-Z]|[aeioAEIO]", text)
    return "an " if sounds_open else "a "


def _singular(text: str) -> str:
    return re.sub(r"ies$", "y", text) if text.endswith("ies") else re.sub(r"(?<=s)es$|(?<!s)s$", "", text)


def _stripped(statement: str) -> str:
    return " ".join(statement.split()).rstrip(".。;；")


@cache
def _rules() -> dict[str, Any]:
    from ruamel.yaml import YAML

    read = YAML(typ="safe", pure=True).load((Path(__file__).parent / "rules.yaml").read_text(encoding="utf-8"))

    def rule(entry: dict[str, Any]) -> Rule:
        pattern = re.sub(r"(?<!\?P)<(\w+)>", lambda match: read["words"][match[1]], entry["match"])
        return Rule(re.compile(pattern, re.IGNORECASE), entry["ask"], entry["answer"])

    return {
        "statements": [rule(entry) for entry in read["statements"]],
        "otherwise": [rule(entry) for entry in read["otherwise"]],
        "unsaid": read["unsaid"],
    }
