"""The rule-based generator: the wordings of rules.yaml turn statements of a passage into questions and answers.

Answers are the document's own words. Values are inserted once and never read as templates.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from stages.files import read_yaml
from stages.records import Document, content_hash
from stages.text.passages import HEADING, SENTENCE_END, WORD, headings, is_cjk

LONGEST = 30  # words of an answer
LONGEST_STATEMENT = 1000  # characters; longer lines are left out: rules.yaml would take quadratic time for it
RULER = re.compile(r"\|[\s:|-]+")  # below the header of a table
ITEM = re.compile(r"(?<!\s)\s*(?:[-*•]|(?<!\d)\d+[.)、])\s+")  # begins where its spaces and its digits begin
LABELLED = re.compile(r"(?!(?:tips?|notes?|examples?): )([^:：.?!。]{2,80})(?:: |：)(.+)", re.IGNORECASE)
PLAIN_COLUMN = re.compile(
    r"(.* )?(value|details?|amount|description)|availability.*|(how|what) .*|数值|值|内容|说明|金额", re.IGNORECASE
)
WORD_OF_RULES = re.compile(r"(?<!\?P)<(\w+)>")
SLOT = re.compile(r"\{(the |a )?(\w+)\}")
CLAUSE = re.compile(r"you |.* (?:is|are|receive|have) ", re.IGNORECASE)
LEFTOVER = re.compile(r"\[\[|\{\{|\*\*|`|[a-z] Yes\b")  # remains of a careless template in a document
VERBATIM = ("subject", "title", "start", "list")
MANY = re.compile(r"(?<![iosu])s$")
TO_FIRST_PERSON = [
    (re.compile(rf"\b{second}\b", re.IGNORECASE), first)
    for second, first in (
        ("yours", "mine"),
        ("your", "my"),
        ("yourself", "myself"),
        ("you are", "I am"),
        ("you’re|you're", "I am"),
        (r"(helps?|allow(?:s|ing)?|lets?|notify|gives?|with|from|to|for) you", r"\1 me"),
        ("you", "I"),
    )
]


@dataclass(frozen=True)
class Rule:
    match: re.Pattern[str]
    ask: Sequence[str]
    answer: str


def pairs(passage: Document, wordings: int) -> list[tuple[str, str]]:
    """Return questions and answers, at most `wordings` per statement; the choice depends only on the statement."""
    known = headings(passage)
    over = {"subject": known[0], "title": known[min(1, len(known) - 1)]}
    found = []
    within_chinese = is_cjk(passage.text)
    for statement in statements(passage):
        chinese = within_chinese or is_cjk(statement)  # "APP | 支持" is Chinese by its passage alone
        matched = _matched("statements", statement, chinese) or _matched("otherwise", statement, chinese)
        turn = int(content_hash(statement)[:4], 16)
        made = [_worded(rule, {**match.groupdict(""), **over}, turn) for rule, match in matched]
        found += [pair for tier in zip_longest(*made) for pair in tier if pair][:wordings]
    return [(question, answer) for question, answer in found if len(WORD.findall(answer)) <= LONGEST]


def _matched(sort: str, statement: str, chinese: bool) -> list[tuple[Rule, re.Match[str]]]:
    """Return the rules that fit and ask in the statement's language, with their matches; none fits an overlong one."""
    if len(statement) > LONGEST_STATEMENT:
        return []
    fitting = ((rule, match) for rule in _rules()[sort] if (match := rule.match.fullmatch(statement)))
    return [(rule, match) for rule, match in fitting if is_cjk(rule.ask[0]) == chinese]


def statements(passage: Document) -> list[str]:
    """Return the statements of a passage.

    Sentences stay as they are. Lists and tables give "label | value"; tables with meaningful columns give
    "column | row | value". A list gives "heading | steps" below a question or "How to …", else "heading ‖ items".
    """
    lines = [line.rstrip() for line in passage.text.split("\n") if line.strip() and not HEADING.fullmatch(line)]
    heading = headings(passage)[-1]
    found: list[str] = []
    header: list[str] = []
    for line, after in zip_longest(lines, lines[1:], fillvalue=""):
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if RULER.fullmatch(after):
                header = cells
            elif not RULER.fullmatch(line):
                found += _row(header, cells)
            continue
        text = ITEM.sub("", line, count=1).strip()
        nested = ITEM.match(after) and len(after) - len(after.lstrip()) > len(line) - len(line.lstrip())
        if text.endswith(("?", "？")) and nested:
            found.append(f"{text} | {ITEM.sub('', after, count=1)}")
        elif not (nested and text.endswith((":", "："))):
            found += _item(text, heading)
    items = [ITEM.sub("", line, count=1) for line in lines if ITEM.match(line)]
    if re.match(r"how to |.*[?？]$", heading, re.IGNORECASE):
        found.append(f"{heading} | {' '.join(items or lines)}")
    elif len(items) == len(lines) > 1 and not any(map(LABELLED.fullmatch, items)):
        found.append(f"{heading} ‖ {' '.join(items)}")
    return [_stripped(statement) for statement in found if not LEFTOVER.search(statement)]


def labels(passage: Document) -> list[str]:
    """Return the things that have values in the passage."""
    found = [statement.split(" | ")[0] for statement in statements(passage) if statement.count(" | ") == 1]
    return [label for label in found if _rules()["thing"].fullmatch(label) and not _is_name(label)]


def unsaid(subject: str, label: str, text: str) -> list[str]:
    """Return questions in the subject's language about which `text` (lower case) holds no hint, in all their wordings."""
    return [
        _filled(ask, {"subject": subject, "label": label}, in_question=True)
        for question in _rules()["unsaid"]
        if is_cjk(question["ask"][0]) == is_cjk(subject) and not any(_stands(word, text) for word in question["unless"])
        for ask in question["ask"]
    ]


def _stands(word: str, text: str) -> bool:
    """Return whether the text holds the word; a word of Latin letters must not be part of a longer one."""
    return word in text and (not word.isascii() or not word.isalpha() or bool(re.search(rf"\b{word}\b", text)))


def _row(header: list[str], cells: list[str]) -> list[str]:
    columns = list(zip(header, cells, strict=False))[1:]
    return [
        f"{cells[0]} | {cell}" if PLAIN_COLUMN.fullmatch(column) else f"{column} | {cells[0]} | {cell}"
        for column, cell in columns
        if cell
    ]


def _item(text: str, heading: str) -> list[str]:
    """Split an item; "Silver Card: +0.2%" below "Card bonuses" becomes "Card bonus | Silver Card | +0.2%"."""
    labelled = LABELLED.fullmatch(text)
    if not labelled or (CLAUSE.match(labelled[1]) and len(labelled[2].split()) > 3):
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
        if match[2] not in VERBATIM:
            text = _first_person(text) if in_question and match[2] != "question" else text
            text = _lowered(text) if match.start() or article else text
        if article == "the " and _is_name(text):
            return f"the {text}"
        return f"{_article(text)}{text}" if article == "a " else text

    text = SLOT.sub(value, wording).strip()
    if not in_question:
        return text
    if text.count(subject := values["subject"]) > 1:  # a named group holds it already
        name = re.escape(subject)
        text = re.sub(rf" (?:with|on|for|of|\() ?(?:the )?{name}\)?(?=\?$)|(?:关于)?{name}[的，：](?={name})", "", text)
    return text[0].upper() + text[1:]


def _first_person(text: str) -> str:
    for second, first in TO_FIRST_PERSON:
        text = second.sub(first, text)
    return text


def _is_name(text: str) -> bool:
    """Return whether no word begins in lower case; a single word needs a second capital."""
    words = text.split()
    return (
        (len(words) > 1 or bool(re.match(r"[A-Z][a-z]+[A-Z]", text)))
        and not re.match(r"(?:the|an?) ", text, re.IGNORECASE)
        and not any(w[0].islower() for w in words)
    )


def _lowered(text: str) -> str:
    first, _, rest = text.partition(" ")
    if first in ("The", "A", "An", "Your", "My"):
        return f"{first.lower()} {rest}"
    keeps = first[1:] != first[1:].lower() or len(first) < 2 or (rest[:1].isupper() and not rest.startswith("I "))
    return text if keeps else text[0].lower() + text[1:]


def _article(text: str) -> str:
    if MANY.search(text) or re.match(r"(?:the|an?|my|no) |\W|\d", text, re.IGNORECASE):
        return ""
    sounds_open = re.match(r"[AEFHILMNORSX][A-Z]|[aeioAEIO]", text)
    return "an " if sounds_open else "a "


def _singular(text: str) -> str:
    return re.sub(r"ies$", "y", text) if text.endswith("ies") else re.sub(r"(?<=s)es$|(?<!s)s$", "", text)


def _stripped(statement: str) -> str:
    """Remove the end of the sentence and a redundant ": Yes"."""
    return re.sub(r": Yes$", "", " ".join(statement.split()).rstrip(".。;；"))


@cache
def _rules() -> dict[str, Any]:
    read = read_yaml((Path(__file__).parent / "rules.yaml").read_bytes(), "rules.yaml")

    def pattern(text: str) -> re.Pattern[str]:
        while (written := WORD_OF_RULES.sub(lambda match: read["words"][match[1]], text)) != text:
            text = written
        return re.compile(text, re.IGNORECASE)

    def rule(entry: dict[str, Any]) -> Rule:
        return Rule(pattern(entry["match"]), entry["ask"], entry["answer"])

    return {
        "statements": [rule(entry) for entry in read["statements"]],
        "otherwise": [rule(entry) for entry in read["otherwise"]],
        "unsaid": read["unsaid"],
        "thing": pattern("<thing>"),
    }
