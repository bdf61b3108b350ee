"""Which differences between texts count and which are ignored, in many scripts; some are from public bug reports."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluate import metrics
from stages.records import Example, Message, Prediction
from stages.text.comparing import content, exact

DIFFERENT = [
    ("> 5", "5"),
    ("> x", "x"),
    (".5", "5"),
    ("-.5", ".5"),
    ("!x", "x"),
    ("!true", "true"),
    ("--i", "i"),
    ("i--", "i"),
    ("--verbose", "verbose"),
    (".gitignore", "gitignore"),
    ("3!!", "3!"),
    ("- x + 5", "x + 5"),
    ("+ return 1", "- return 1"),
    ("# x = 1\ny = 2", "x = 1\ny = 2"),
    ("f'", "f"),
    ("A'", "A"),
    ("5'", '5"'),
    ("52°30'", '52°30"'),
    ("__init__", "init"),
    ("./run.sh", "/run.sh"),
    ("../a.txt", "./a.txt"),
    ("<h1>Hi</h1>", "<h2>Hi</h2>"),
    ("-8", "8"),
    ("+10", "10"),
    ("C++", "C"),
    ("C#", "C"),
    ("x > 0", "x < 0"),
    ("<42", "42"),
    ("~5", "5"),
    ("p → q", "p ∧ q"),
    ("¬p", "p"),
    ("1/2", "1.2"),
    ("1/2", "12"),
    ("50%", "50"),
    ("5-3", "5+3"),
    ("5!", "5"),
    ("f' > 0", "f' < 0"),
    ("10²", "102"),
    ("2^3", "23"),
    ("€5", "$5"),
    ("20 °C", "20 C"),
    ("12:30", "1230"),
    ("3:1", "3.1"),
    ("3 : 1", "31"),
    ("x4", "x 4"),
    ("1,000", "1.000"),
    ("R&D", "RD"),
    ("a@b.org", "ab.org"),
    ("mW", "MW"),
    ("pH", "PH"),
    ("5 Mg", "5 mg"),
    ("5 m", "5 M"),
    ("किताब", "कताब"),
    ("ที่", "ที"),
    ("résumé", "resume"),
    ("ё", "е"),
    ("οδός", "οδος"),
    ("簡體", "简体"),
    ("三", "3"),
    ("ア", "ｱ"),
    ("كَتَبَ", "كتب"),
    ("أ", "ا"),
    ("٣", "3"),
    ("שָׁלוֹם", "שלום"),
    ("نمی\u200cشود", "نمیشود"),
    ("ไทย แลนด์", "ไทยแลนด์"),
    ("👍", "👎"),
    ("(2 + 3) * 4", "2 + 3 * 4"),
    ("2 - (3 - 1)", "2 - 3 - 1"),
    ("12 / (2 × 3)", "12 / 2 × 3"),
]
SAME = [
    ("Paris.", "paris"),
    ("  Paris\n", "Paris"),
    ("“Paris”", "Paris"),
    ("« Paris »", "'Paris'"),
    ("**Paris**", "Paris"),
    ("`Paris`", "Paris"),
    ("- Paris", "Paris"),
    ("# Paris", "Paris"),
    ("<answer>Paris</answer>", "Paris"),
    ("x>0", "x > 0"),
    ("1, 2", "1,2"),
    ("5 kg", "5kg"),
    ("5 %", "5%"),
    ("1 / 2", "1/2"),
    ("3 x 4", "3x4"),
    ("1920X1080", "1920 X 1080"),
    ("é", "e\u0301"),
    ("क़", "\u0915\u093c"),
    ("–3", "-3"),
    ("−3", "-3"),
    ("５０％", "50%"),
    ("$x = 5$", "x=5"),
    ("don’t", "don't"),
    ("The PARCEL is late", "the parcel is late."),
    ("JavaScript", "Javascript"),
    ("Straße", "STRASSE"),
    ("ΟΔΟΣ", "οδος"),
    ("CO", "Co"),
    ("No", "NO"),
    ("答 案", "答案"),
    ("한", "\u1112\u1161\u11ab"),
    ("أهلا؟", "أهلا"),
    ("है।", "है"),
    ("Yes!", "yes"),
    ("耳机没有收到。", "耳机没有收到"),
    ('The title is "Dune".', "the title is Dune"),
    ("Mon–Fri", "Mon-Fri"),
    ("5 µm", "5 μm"),
    ("п'ять", "пʼять"),
    ("Hawaiʻi", "Hawai'i"),
    ('צה"ל', "צה״ל"),
    ("《红楼梦》", "红楼梦"),
    ("İstanbul", "istanbul"),
    ("25 ℃", "25 °C"),
    (r"\(x = 5\)", "$x = 5$"),
    ("كتـــاب", "كتاب"),
    ("\u2067שלום\u2069", "שלום"),
    ("the students' books", "the students’ books"),
    ("Wait--what", "Wait -- what"),
    ("Paris--", "Paris"),
    ("...Paris", "Paris"),
    ("zero\u200bwidth", "zerowidth"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_changes_the_meaning_counts(one: str, other: str) -> None:
    assert exact(one) != exact(other)
    assert content(one) != content(other)


@pytest.mark.parametrize(
    ("one", "other"), [("[0, 1)", "(0, 1]"), ("(a + b) * c", "a + b * c"), ("f(x)", "fx"), ("a, b", "a b")]
)
def test_brackets_and_commas_count_in_an_exact_match(one: str, other: str) -> None:
    assert exact(one) != exact(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("- 3", "-3"),
        ("2 -3", "2 - 3"),
        ("[100,200]", "[100, 200]"),
        ("1,000,000", "1, 000, 000"),
        ("3 : 1", "3:1"),
        ("1 : 2 : 3", "1:2:3"),
        ("12: 30", "12:30"),
        ("-3 : 1", "-3:1"),
        ("1 : 1,000", "1:1,000"),
        ("3 ： 1", "3:1"),
        ("٣ : ١", "٣:١"),
    ],
)
def test_blanks_within_numbers_are_ignored_in_an_exact_match(one: str, other: str) -> None:
    assert exact(one) == exact(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("born in Ulm (1879)", "born in Ulm 1879"), ("Paris (France) - capital", "Paris France - capital"), ("(B) red", "B red")],
)
def test_brackets_of_a_sentence_are_no_content(one: str, other: str) -> None:
    assert content(one) == content(other)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_only_looks_different_is_ignored(one: str, other: str) -> None:
    assert exact(one) == exact(other)
    assert content(one) == content(other)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("well-known COVID-19, x-ray", ("well", "known", "covid", "19", "x", "ray")),
        ("He came - late", ("he", "came", "late")),
        ("5 - 3 and 5-3", ("5", "-", "3", "and", "5", "-", "3")),
        ("…", ("…",)),
        ("", ()),
    ],
)
def test_punctuation_is_no_content(text: str, parts: tuple[str, ...]) -> None:
    assert content(text) == parts


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
KINDS: list[tuple[Any, tuple[str, ...]]] = [
    ("text", ()),
    ("text", ("unanswerable",)),
    ("summary", ()),
    ("translation", ()),
    ("choice", ()),
    ("classification", ()),
]


@pytest.mark.parametrize(("kind", "slices"), KINDS)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40),
    other=st.text(max_size=9),
)
def test_reference_is_its_own_right_answer_by_every_metric(kind: Any, slices: tuple[str, ...], text: str, other: str) -> None:
    if not text.strip():
        return
    choices = tuple(dict.fromkeys([text, other, f"{text}x"])) if kind in ("choice", "classification") else ()
    messages = (Message(role="user", content="?"), Message(role="assistant", content=text))
    example = Example(kind=kind, messages=messages, source="s", slices=slices, choices=choices)
    answer = Prediction(example=example.id, system="s", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
    assert {name: value for name, value in metrics.score(example, answer)[0].items() if value != 1.0} == {}
