"""Question–answer pairs and the filters that reject bad ones.

A question must be clear without its passage: Zhang and Yang (2023, arXiv:2305.11952) forbid "this" and "the above article".
A passage must contain its answer. Words are compared without their inflections, amounts with their sign or unit, and names
exactly. Chinese is compared by pairs of neighbouring characters, of which the passage must hold two thirds.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from stages.params import DocumentsData, SelfQa
from stages.records import Document, Rejection
from stages.text.passages import headings
from stages.text.words import CJK

WORD = re.compile(rf"[{CJK}]|\d+(?:[.,]\d+)*|[^\W\d_{CJK}]+")
NUMERALS = "零一二三四五六七八九十百千万亿两"
AMOUNT = re.compile(  # with its sign and, in Chinese, the unit's first character
    rf"(?:(?<!\w)[-−])?[$€£¥]?(?:\d+(?:[.,]\d+)*[{NUMERALS}]*|[{NUMERALS}]+)(?:%|(?![的是在和与及或])[{CJK}])?"
)
AMOUNT_SPACE = re.compile(rf"(?<=[$€£¥]) (?=\d)|(?<=\d) (?=[%{CJK}])")
DOES = "(?:do|does|did|is|are|was|were|has|have|had|can|could|will|would|must|may|might|should)"
# "How long does it take to close the Gold Account?" names its subject later.
NAMED_LATER = r"(?! take | (?:be )?(?:cost|possible|necessary|allowed|required|true)\b.* (?:to|that)\b)"
POINTING = re.compile(
    r"\b(?:this|these|those)\b|\bthat (?:amount|level|day|rate|date|limit|case|period)\b|\bif (?:it|they)\b|"
    r"\bthat (?:account|card|plan|product|loan|fee)\b(?! holders?)|^(?:what|who|when|where|how much) (?:is|are|was|were) its\b|"
    r"\b(?:for|of|with|on) it\?$|"
    rf"^(?:\w+ ){{0,4}}{DOES} (?:it|they|he|she)\b{NAMED_LATER}|^\w+ {DOES} (?:i|you|we|one) \w+ (?:it|them)\b|"
    r"(?:^|\b(?:happens|applies|advised|the case|i do) )(?:when|once|after|until|unless) (?:it|they)\b|"
    r"\b(?:above|below|aforementioned|mentioned)[,?.]|\b(?:described|mentioned|listed|shown|given) (?:above|below|here)\b|"
    r"\b(?:the|above|given|following|provided) "
    r"(?:article|author|writer|document|excerpt|page|paragraph|passage|section|table|text|above)\b"
    r"(?! (?:message|fee|booking|service))|"
    r"\b(?:the|given|provided) (?:background|context|materials?)\b(?! of\b| checks?\b)|"
    r"\bthe information (?:provided|given)\b(?! (?:by|to)\b)|\b(?:given|provided) information\b|"
    r"\baccording to the (?:guide|information|polic(?:y|ies))\b(?! (?:of|on|for)\b)|"
    r"这|那[些个张种家项款份笔类位]|本文|(?:在|从|根据|该|的)文章(?=[的里中，]|提到)|^文章|上面(?:提到|说|讲|所|的内容)|根据内容|(?:材料|内容)[中里]的|作者(?:认为|说|提到)|上文|上述|下文|(?:根据|如)以上|以上(?:内容|所述|文)|(?<![^在据从问，。])文(?:中|章[中里])|(?:根据|本|该)文[本章]|"
    r"根据(?:(?:所给|给定|给出|提供)的?)?(?:材料|背景|资料|段落)|背景知识|段落[中里]|"
    r"(?<![应因如彼])[该此](?:账户|产品|卡|服务|业务|计划|贷款|公司|银行|文)|(?<!其)它|^(?:请问)?其(?![他它中实次间])",
    re.IGNORECASE,
)
STOP_WORDS = (
    "a about all also an and any are as at be been by can could did do does each for from had has have he her his how i if in "
    "into is it its just may me more most must my no not of on or our s she should so such t than that the their them then "
    "there they to up us was we were what when where which while who will with would yes you your "
    "的 了 是 在 和 与 及 或 有 为 吗 呢 不 也 就 都 而 请 您 你 我 "
)
STOP = frozenset(STOP_WORDS.split())
DENIAL = re.compile(r"\b(?:not|never|without|nor|cannot|none)\b|n['’]t\b|\bno\b(?!$|[,.;])|[不没无未]", re.IGNORECASE)


@dataclass(frozen=True)
class QaPair:
    """`generator` is "rules" or "teacher"; `calls` are the teacher's; `answer` and `again` are None before an answer.

    `unfinished` is why the last call holds no whole answer.
    """

    passage: Document
    generator: str
    question: str
    answer: str | None = None
    again: str | None = None
    calls: tuple[str, ...] = ()
    unfinished: str | None = None

    @cached_property
    def document(self) -> Document:
        text, parents = f"{self.question}\n{self.answer or ''}", (self.passage.id, *self.calls)
        return Document(text=text, kind=self.generator, source=self.passage.source, parents=parents)

    @property
    def subject(self) -> str:
        return headings(self.passage)[0]


class Sieve:
    """The filters by name, in order, and the rejected pairs. Of two pairs with one question the first stays."""

    def __init__(self, passages: Sequence[Document], data: DocumentsData, options: SelfQa) -> None:
        self.decline, self.min_f1 = data.decline, options.min_f1
        self.rejected: list[Rejection] = []
        self.asked: set[tuple[str, ...]] = set()
        self.naming = {subject: set(words(subject.lower())) for subject in {headings(passage)[0] for passage in passages}}
        shared = set.intersection(*self.naming.values()) if len(self.naming) > 1 else set()
        self.naming = {subject: named - shared if data.subject else set() for subject, named in self.naming.items()}
        judges: dict[str, Callable[[QaPair], str | None]] = {
            "parsed": _parsed,
            "self_contained": lambda pair: self_contained(pair.question, self.naming[pair.subject]),
            "grounded": self._grounded,
            "round_trip": self._round_trip,
            "duplicates": self._duplicate,
        }
        self.filters = {name: judges[name] for name in ("parsed", *options.filters)}

    def through(self, pairs: Iterable[QaPair], *names: str) -> list[QaPair]:
        """Return the pairs that pass the named filters; those that are off pass all."""
        on = [name for name in self.filters if name in names]
        return [pair for pair in pairs if all(self._passes(pair, name) for name in on)]

    def _passes(self, pair: QaPair, name: str) -> bool:
        if reason := self.filters[name](pair):
            document = pair.document
            self.rejected.append(Rejection(text=document.text, filter=name, reason=reason, parents=document.parents))
        return not reason

    def _grounded(self, pair: QaPair) -> str | None:
        return "declines" if pair.answer == self.decline else grounded(pair.answer or "", pair.passage.text)

    def _round_trip(self, pair: QaPair) -> str | None:
        agreement = f1(pair.answer or "", pair.again or "")
        lost = f", which {pair.unfinished}" if pair.unfinished else ""
        return f"token F1 {agreement:.2f} with the second answer {pair.again!r}{lost}" if agreement < self.min_f1 else None

    def _duplicate(self, pair: QaPair) -> str | None:
        if key(pair.question) in self.asked:
            return "was asked before"
        self.asked.add(key(pair.question))
        return None


def _parsed(pair: QaPair) -> str | None:
    if not pair.question.endswith(("?", "？")):
        return pair.unfinished or "is not a question"
    return pair.unfinished or "has no answer" if pair.answer == "" else None


def self_contained(question: str, subject: set[str]) -> str | None:
    """Return why the question needs its passage, or None; it must name more than half of the words in `subject`."""
    if found := POINTING.search(question):
        return f"says {found[0]!r}, which only its passage explains"
    named = subject.intersection(words(question.lower()))
    return f"does not name {' '.join(sorted(subject))}" if subject and 2 * len(named) <= len(subject) else None


def grounded(answer: str, passage: str) -> str | None:
    """Return why the passage does not hold the answer, or None: an amount, a name, another word, or Chinese is missing."""
    if not words(answer):
        return "has no word"
    if STOP.issuperset(words(answer.lower())) and "".join(key(answer)) not in ("yes", "no", "是", "不是"):
        return "has no content word"
    if (denial := DENIAL.search(answer)) and not DENIAL.search(passage):
        return f"{denial[0]!r} is not in the passage"
    answer, passage = AMOUNT_SPACE.sub("", answer), AMOUNT_SPACE.sub("", passage)
    for amount in dict.fromkeys(AMOUNT.findall(answer)):
        before = rf"(?<![\d{NUMERALS}])(?<!\d[.,])(?<!(?<!\w)[-−])(?<!(?<!\w)[-−][$€£¥])"
        after = r"(?![.,]?\d)" if amount[-1].isdigit() else ""  # "2024年3月": a unit may be followed by a number
        if not re.search(rf"{before}{re.escape(amount)}{after}", passage):
            return f"{amount!r} is not in the passage"
    present, parts = set(words(passage.lower())), stems(passage)
    for position, word in enumerate(words(answer)):
        if re.match(rf"[\d{CJK}]", word):
            continue
        is_name, lower = position > 0 and word[0].isupper(), word.lower()
        if lower not in STOP and lower not in present and (is_name or stem(lower) not in parts):
            return f"{word!r} is not in the passage"
    for run in re.findall(f"[{CJK}]+", AMOUNT.sub(" ", answer)):
        grams = [run[start : start + 2] for start in range(len(run) - 1)] or [run]
        if 3 * sum(gram in STOP or gram in passage for gram in grams) < 2 * len(grams):
            return f"{run!r} is not in the passage"
    return None


def words(text: str) -> list[str]:
    """Return words as written; a number with points and commas is one word, and so is a Chinese character."""
    return WORD.findall(text)


def stems(text: str) -> set[str]:
    """Return the content words without their inflections."""
    return {stem(word) for word in words(text.lower()) if word not in STOP}


def stem(word: str) -> str:
    """Remove plural, -ed and -ing, then a final e or doubled letter, which these endings remove or add."""
    singular = re.sub(r"(?<=s)es$|(?<![us])s$", "", re.sub(r"ie[sd]$", "y", word))
    return re.sub(r"(.)\1$", r"\1", re.sub(r"(?<=\w\w)(?:ing|(?<!e)ed|e)$", "", singular))


def key(text: str) -> tuple[str, ...]:
    """Return a key that is equal for texts that differ only in capitals, signs and articles."""
    return tuple(word for word in words(text.lower()) if word not in ("a", "an", "the"))


def f1(first: str, second: str) -> float:
    """Return token F1 of two answers (Rajpurkar et al. 2016, arXiv:1606.05250)."""
    a, b = key(first), key(second)
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b)) if a or b else 1.0
