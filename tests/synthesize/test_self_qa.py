"""Self-QA with a scripted teacher and with rules: what is thrown out and why, lineage, coverage, budgets, what is declined."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import documents
from stages.params import Budget, DocumentsData, FolderDocuments, Passage, Sampling, SelfQa, Shares
from stages.records import Document
from stages.synthesize import pairs, rules, self_qa
from stages.synthesize.made import Inputs, Made, funnel
from stages.teachers.teacher import Teacher
from tests.fixtures.scripted import Scripted

DECLINE = "I do not know; the handbook does not say."
GREEDY = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=64)
DATA = DocumentsData(
    kind="documents",
    path="handbook",
    documents=FolderDocuments(source="folder"),
    include="*",
    subject="(.*)",
    system="Answer from the handbook.",
    decline=DECLINE,
)
OPTIONS = SelfQa(
    generator="rules",
    passage=Passage(words=60, overlap=10),
    wordings=3,
    questions=2,
    filters=["self_contained", "grounded", "round_trip", "duplicates"],
    min_f1=0.6,
    rows=None,
    shares=Shares(with_passage=0.1, unanswerable=0.1, wrong_passage=0.05),
    question_sampling=GREEDY,
    answer_sampling=GREEDY,
)
GOLD = """# Gold Account
## Fees
- Monthly maintenance fee: $10.00
- Large balance alert threshold: $50,000
## Interest
Interest is credited monthly. If your balance falls below $5,000, a monthly charge may be incurred."""
SILVER = """# Silver Account
## Fees
- Monthly maintenance fee: $5.00
## Interest
Interest is credited quarterly."""


def document(text: str, source: str = "") -> Document:
    return Document(text=text, kind="document", source=source or text.split("\n")[0].removeprefix("# "))


def many(count: int) -> list[Document]:
    return [document(f"# Plan {i}\n## Fees\n- Yearly fee: ${i}.50", f"plan-{i}") for i in range(count)]


def sort_of(prompt: str) -> str:
    """Return which of the three requests a prompt is."""
    return "question" if "1. " in prompt[-20:] else "answer" if prompt.startswith(("The background", "背景")) else "again"


def plan_teacher(sort: str, prompt: str) -> str:
    """Knows the one fact of a plan."""
    plan = prompt.split("# ")[1].split("\n")[0]
    return f"1. What is the yearly fee of {plan}?" if sort == "question" else prompt.split("Yearly fee: ")[1].split("\n")[0]


def teacher(reply: Callable[[str, str], str] = plan_teacher, max_calls: int | None = None) -> Teacher:
    return Teacher(
        Scripted(lambda prompt: reply(sort_of(prompt), prompt)),
        Budget(max_calls=max_calls, max_tokens=None, max_usd=None),
        seed=1,
    )


def run(documents: Sequence[Document], teacher_: Teacher | None = None, data: DocumentsData = DATA, **options: Any) -> Made:
    inputs = Inputs(seeds=[], pool=[], documents=documents, facts=[], data=data)
    asked = teacher_ or teacher()
    return self_qa.run(inputs, asked, OPTIONS.model_copy(update=options), seed=7)


def asked(made: Made) -> dict[str, str]:
    return dict(pair.text.split("\n", 1) for pair in made.kept)  # type: ignore[misc]


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


# Rules ---------------------------------------------------------------------------------------------------------------------


def test_rules_answer_in_the_documents_words() -> None:
    made = run([document(GOLD)])
    assert made.kept
    assert all("Gold Account" in question for question in asked(made))
    assert {"a monthly maintenance fee of $10.00", "credited monthly"} <= set(asked(made).values())
    assert {document.kind for document in made.kept} == {"rules"}


def test_statement_gets_at_most_the_set_wordings() -> None:
    (one,) = run([document("# Gold Account\n- Monthly fee: $10.00")], wordings=1).kept
    more = run([document("# Gold Account\n- Monthly fee: $10.00")], wordings=3).kept
    assert len({pair.text for pair in more}) == 3
    assert one.text in {pair.text for pair in more}


def test_meaningful_header_becomes_part_of_the_statement() -> None:
    table = "# Gold Account\n| Item | Value |\n|---|---|\n| Yield | 2% |\n\n| Card | Bonus |\n|:--|--:|\n| Blue Card | +1% |\n"
    assert rules.statements(self_qa.cut(document(table), OPTIONS.passage)[0]) == ["Yield | 2%", "Bonus | Blue Card | +1%"]


def test_unfilled_template_is_not_a_statement() -> None:
    assert rules.statements(document("# Gold Account\nYou receive an additional [[bonus]] on top.\nAll is {{ well }}.")) == []


def test_text_that_looks_like_a_template_stays_text() -> None:
    made = run([document("# {{ 7*7 }} Account\n- Monthly {subject} fee: ${{ 8*8 }}\n- Yearly {label} fee: $3")])
    assert "49" not in str(made.kept) + str(made.tasks)
    assert any("{label}" in question for question in asked(made))


def test_chinese_documents_give_chinese_questions() -> None:
    made = run([document("# 金账户\n## 费用\n- 月费：10元\n年利率是5%。如果余额低于1000元，每月收取管理费。")])
    questions = asked(made)
    assert "10元" in questions.values()
    assert "5%" in questions.values()
    assert all("金账户" in question and not question.isascii() for question in questions)


def test_the_sentences_of_a_chinese_table_name_the_subject_once(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "plans.csv").write_text("账户,月费,说明\n金账户,10元,免费取款\n", encoding="utf-8")
    for split in ("valid", "test"):
        (tmp_path / f"{split}.jsonl").write_text("", encoding="utf-8")
    found, _ = documents.fetch(DATA.model_copy(update={"path": str(tmp_path), "subject": None}))
    questions = asked(run(found, wordings=9))
    assert questions["金账户的月费是什么？"] == "10元"
    assert {question.count("金账户") for question in questions} == {1}


def test_chinese_statements_get_no_english_wordings() -> None:
    rows = "| 卡 | 月费 |\n|---|---|\n| 白金卡 | 20元 |"
    made = run([document(f"# 金账户\n## 费用\n- 月费：10元\n- APP：支持\n- 如何开户？\n  - 到网点办理\n\n{rows}")], wordings=9)
    questions = asked(made)
    assert {"10元", "20元", "到网点办理"} <= set(questions.values())
    assert [question for question in questions if "?" in question or "What" in question or " " in question] == []


@pytest.mark.parametrize(
    "text", ["One line of text that says nothing to ask.", "# Only a heading", "x", "# Gold Account\n\n\n"]
)
def test_document_of_one_line_is_fine(text: str) -> None:
    made = run([document(text, "one")])
    assert made.figures["documents"] == 1
    assert made.figures["documents_covered"] <= 1


def test_no_documents_make_no_rows() -> None:
    made = run([])
    assert (made.tasks, made.kept, made.rejected) == ([], [], [])


# Teacher and filters -------------------------------------------------------------------------------------------------------


def test_each_pair_filter_rejects_its_case() -> None:
    replies = {
        "plan-0": ("Here you are", ""),
        "plan-1": ("1. What is the fee of this plan?", ""),
        "plan-2": ("1. What is the yearly fee of Plan 2?", "$99"),
        "plan-3": ("1. What is the yearly fee of Plan 3?", "$3.50"),
        "plan-4": ("1. What is the yearly fee of Plan 4?\n2. What is a yearly fee of plan 4?", "$4.50"),
    }

    def reply(sort: str, prompt: str) -> str:
        question, answer = replies["plan-" + prompt.split("# Plan ")[1][0]]
        if sort == "question":
            return question
        return "no idea" if sort == "again" and "# Plan 3" in prompt else answer

    made = run(many(5), teacher(reply), generator="teacher")
    assert [rejection.filter for rejection in made.rejected] == [
        "parsed",
        "self_contained",
        "grounded",
        "round_trip",
        "duplicates",
    ]
    assert [pair.text for pair in made.kept] == ["What is the yearly fee of Plan 4?\n$4.50"]
    counts = [step.count for step in funnel("self_qa", made, 0, "").stages]
    assert counts == [6, 5, 4, 3, 2, 1, 1]


@pytest.mark.parametrize(
    "question",
    [
        "What does the passage say?",
        "What is its fee, as mentioned?",
        "How much is this?",
        "Does it have a fee?",
        "文中的费用是多少？",
    ],
)
def test_a_question_that_points_at_its_passage_is_thrown_out(question: str) -> None:
    made = run(many(1), teacher(lambda sort, _: question if sort == "question" else "$0.50"), generator="teacher")
    assert {rejection.filter for rejection in made.rejected} == {"self_contained"}


def test_question_must_name_its_subject_if_set() -> None:
    def reply(sort: str, prompt: str) -> str:
        return "1. What is the yearly fee of a plan?" if sort == "question" else plan_teacher(sort, prompt)

    assert run(many(2), teacher(reply), generator="teacher").kept == []
    free = DATA.model_copy(update={"subject": None})
    assert len(run(many(2), teacher(reply), free, generator="teacher").kept) == 1


def test_useless_teacher_leaves_the_pairs_of_rules() -> None:
    weak = teacher(lambda sort, prompt: "")
    made = run(many(3), weak, generator="teacher")
    assert (made.tasks, made.kept) == ([], [])
    assert funnel("self_qa", made, len(weak.calls), "").rows == 0
    both = run(many(3), weak, generator="both")
    assert {pair.kind for pair in both.kept} == {"rules"}


def test_a_filter_that_is_not_named_is_off() -> None:
    def lies(sort: str, prompt: str) -> str:
        return plan_teacher(sort, prompt) if sort == "question" else "Seven pounds"

    strict = run(many(1), teacher(lies), generator="teacher")
    assert not strict.kept and [rejection.filter for rejection in strict.rejected] == ["grounded"]
    loose = run(many(1), teacher(lies), generator="teacher", filters=["self_contained"])
    assert (loose.filters, len(loose.kept)) == (("parsed", "self_contained"), 1)


def test_which_generator_made_a_pair_is_recorded() -> None:
    def reply(sort: str, prompt: str) -> str:
        return "Could you name the fee of Plan 1, please?" if sort == "question" else plan_teacher(sort, prompt)

    made = run(many(2), teacher(reply), generator="both")
    assert made.figures["pairs"] == {"rules": 6, "teacher": 1}
    assert {slice for task in made.tasks for slice in task.slices} >= {"rules", "teacher"}


def test_task_traces_back_to_passage_document_and_calls() -> None:
    documents = many(2)
    asked_teacher = teacher()
    made = run(documents, asked_teacher, generator="teacher")
    pairs = {pair.id: pair for pair in made.kept}
    passages = {passage.id: passage for passage in made.passages}
    calls = {call.id for call in asked_teacher.calls}
    for task in made.tasks:
        passage, *asked_ = pairs[task.parents[0]].parents
        assert passages[passage].parents[0] in {document.id for document in documents}
        assert len(asked_) == 3
        assert set(asked_) <= calls
        assert task.source == passages[passage].source


def test_changed_document_costs_only_its_own_calls() -> None:
    documents = many(200)
    first = teacher()
    run(documents, first, generator="teacher")
    assert first.asked == 3 * 200

    documents[17] = document("# Plan 17\n## Fees\n- Yearly fee: $18.00", "plan-17")
    again = teacher()
    made = run(documents, again, generator="teacher")
    assert again.asked == 3
    assert all("# Plan 17\n" in prompt for prompt in again.backend.prompts)  # type: ignore[attr-defined]
    assert len(made.kept) == 200


def test_a_budget_that_ends_leaves_whole_pairs() -> None:
    short = teacher(max_calls=250)
    made = run(many(200), short, generator="teacher")
    assert short.spent
    assert 0 < len(made.kept) < 200
    assert all(len(pair.parents) == 4 for pair in made.kept)


def test_chinese_passages_are_asked_about_in_chinese() -> None:
    replies = {"question": "1. 金账户的月费是多少？", "answer": "10元", "again": "10元"}
    chinese = teacher(lambda sort, _: replies[sort])
    made = run([document("# 金账户\n月费为10元，按月收取。")], chinese, generator="teacher")
    assert asked(made) == {"金账户的月费是多少？": "10元"}
    assert chinese.backend.prompts[0].startswith("背景知识")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("...", "has no word"),
        ("是的，有的", "has no content word"),
        ("是", None),
        ("不收10元", "'不' is not in the passage"),
        ("。", "has no word"),
        ("10元", None),
        ("10 元", None),
        ("2024年3月", None),
        ("3到5个", None),
        ("2024年5月", "'5月' is not in the passage"),
        ("ATM", None),
        ("每次10元的取款费", None),
        ("20元", "'20元' is not in the passage"),
        ("三天", "'三天' is not in the passage"),
        ("10天", "'10天' is not in the passage"),
        ("十五天", "'十五天' is not in the passage"),
        ("次日到账，费用十元", "'十元' is not in the passage"),
        ("为每次取费", "'为每次取费' is not in the passage"),
    ],
)
def test_an_answer_stands_in_its_passage(answer: str, reason: str | None) -> None:
    assert pairs.grounded(answer, "# 金账户\nATM取款费为每次10元，十三天内次日到账，限五天。2024年3月起，3到5个。") == reason


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("Transfer completed at $5.00, charging a fee of 2%", None),
        ("bonuses for savings", None),
        ("2 cards", None),
        ("$ 5.00", None),
        ("5%", "5%"),
        ("$2", "$2"),
        ("$5", "$5"),
        ("Now 3%", "3%"),
        ("now -3%", None),
        ("-2%", "-2%"),
        ("within 4 days", None),
        ("fees are not charged", "not"),
        ("Transactions", "Transactions"),
        ("the internet", "internet"),
    ],
)
def test_words_match_by_stem_and_amounts_with_sign(answer: str, missing: str | None) -> None:
    passage = (
        "Transfers complete within 3-4 days for $5.00. Interest of 2% is charged, now -3%; save for a bonus, fees vary by card."
    )
    assert pairs.grounded(answer, passage) == (missing and f"{missing!r} is not in the passage")


def test_answer_of_stop_words_must_be_yes_or_no() -> None:
    assert pairs.grounded("It is what it is.", "It is what it is, and the fee is 2%.") == "has no content word"
    assert pairs.grounded("Yes.", "The fee is 2%.") is pairs.grounded("No", "The fee is 2%.") is None


@pytest.mark.parametrize(
    "same",
    [
        "fee fees",
        "process processes processed processing",
        "charge charges charged charging",
        "apply applies applied applying",
        "transfer transfers transferred transferring",
        "exceed exceeds exceeded exceeding",
        "bonus bonuses",
        "need needs needed",
    ],
)
def test_inflections_have_one_stem(same: str) -> None:
    assert len({pairs.stem(word) for word in same.split()}) == 1


@pytest.mark.parametrize(
    ("question", "points"),
    [
        *[(text, True) for text in ("What is its monthly fee?", "Is that account free?", "How much does it cost?")],
        *[
            (text, True)
            for text in ("该账户的月费是多少？", "此产品收费吗？", "那个账户收费吗？", "它的月费是多少？", "其利率是多少？")
        ],
        *[(text, True) for text in ("根据以上内容，月费是多少？", "文章中的月费是多少？", "文章的作者是谁？")],
        *[(text, True) for text in ("那张卡怎么申请？", "根据内容，月费是多少？", "上面说的卡有什么好处？")],
        *[(text, True) for text in ("How much are its fees?", "What is the fee for it?")],
        *[(text, False) for text in ("What is the purpose of the text message service?", "What is the table fee?")],
        *[(text, True) for text in ("上面提到的月费是多少？", "作者认为金账户怎么样？", "根据文章，月费是多少？")],
        *[
            (text, False)
            for text in ("18岁以上能开金账户吗？", "金账户的中文中怎么说？", "金账户有文章收藏吗？", "应该开其他账户吗？")
        ],
        *[
            (text, True)
            for text in (
                "What does the paragraph say about the Gold Account?",
                "What is the fee of the Gold Account in the given context?",
                "According to the background knowledge, what is the fee of the Gold Account?",
                "What does the material say about the Gold Account?",
                "Based on the information provided, what is the fee of the Gold Account?",
                "According to the policy, what is the fee of the Gold Account?",
                "According to the guide, who may open a Gold Account?",
                "When must it be paid?",
                "What is the fee described above for the Gold Account?",
                "What does the writer say about the Gold Account?",
                "On which day would they be sent?",
                "What fee does it charge?",
                "Where can I renew them?",
                "When it expires, what do I do?",
                "What happens when it expires with the Gold Account?",
            )
        ],
        *[(text, True) for text in ("根据材料，月费是多少？", "根据提供的资料，月费是多少？", "背景知识里的月费是多少？")],
        *[(text, True) for text in ("段落中的月费是多少？", "根据上文，月费是多少？", "上述账户的月费是多少？")],
        *[
            (text, False)
            for text in (
                "How long does it take to close the Gold Account?",
                "How much does it cost to close the Gold Account?",
                "Is it possible to close the Gold Account online?",
                "If a Gold Account is overdrawn, what must its owner do?",
                "How can the holder of a Gold Card renew the card when it expires?",
                "Gold Account: does it include free checks?",
                "From which material is the card of the Gold Account made?",
                "What is the background check of the Gold Account?",
                "In the context of the Gold Account, what is a sweep?",
                "According to the policy of Rho-Bank, who may open a Gold Account?",
                "Who sees the information given to the Gold Account team?",
                "开立金账户的申请材料中需要哪些证件？",
                "金账户可以根据客户提供的材料开立吗？",
            )
        ],
    ],
)
def test_pointing_words_are_recognised(question: str, points: bool) -> None:
    assert bool(pairs.self_contained(question, set())) == points


# Rows ----------------------------------------------------------------------------------------------------------------------


def test_passages_take_turns_where_rows_are_limited() -> None:
    made = run([document(GOLD), document(SILVER)], rows=5)
    plain = [task for task in made.tasks if "closed_book" in task.slices]
    passages = {pair.id: pair.parents[0] for pair in made.kept}
    assert len(plain) == 4
    assert len({passages[task.parents[0]] for task in plain}) == len({pair.parents[0] for pair in made.kept}) == 4


def test_shares_are_those_of_all_rows() -> None:
    made = run(many(40))
    by = {
        sort: [task for task in made.tasks if sort in task.slices] for sort in ("closed_book", "with_passage", "unanswerable")
    }
    assert len(by["closed_book"]) == 120
    assert len([task for task in by["with_passage"] if "unanswerable" not in task.slices]) == 16  # a tenth of 160
    assert len(by["unanswerable"]) == 16 + 8
    assert all(task.input.startswith("# Plan") for task in by["with_passage"])
    assert all(task.input == "" for task in by["closed_book"])
    assert all(task.system == DATA.system for task in made.tasks)


def test_declined_questions_lack_an_answer_in_the_documents() -> None:
    shares = Shares(with_passage=0.0, unanswerable=0.6, wrong_passage=0.2)
    made = run([document(GOLD), document(SILVER)], shares=shares)
    declined = [task for task in made.tasks if "unanswerable" in task.slices]
    assert {task.output for task in declined} == {DECLINE}
    without = [task.instruction for task in declined if not task.input]
    assert any("alert threshold" in question and "Silver Account" in question for question in without)
    assert not any(question.startswith("What is the monthly maintenance fee") for question in without)
    for task in declined:
        if task.input:
            assert ("Gold Account" in task.instruction) == task.input.startswith("# Silver Account")


def test_chinese_documents_give_questions_to_decline_too() -> None:
    texts = [f"# {card}账户\n## 费用\n- 月费：{fee}元\n- 年利率：{fee}%" for card, fee in (("金", 10), ("银", 20))]
    made = run([document(text) for text in texts], shares=Shares(with_passage=0.0, unanswerable=0.4, wrong_passage=0.0))
    declined = [task.instruction for task in made.tasks if "unanswerable" in task.slices]
    assert len(declined) > 1
    assert all("账户" in question and not question.isascii() for question in declined)


def test_reworded_or_translated_facts_are_not_declined() -> None:
    shares = Shares(with_passage=0.0, unanswerable=0.9, wrong_passage=0.0)
    chinese = "# 金卡账户\n## 服务\n- 积分服务：由星海公司提供\n- 月费：10元\n- 年利率：2%"
    english = "# Gold Card\n## Fees\n- Monthly fee: €20\n- Help: 24/7 at +49 30 1234\n- Yearly limit: 500"
    made = run([document(chinese), document(english)], shares=shares)
    declined = [task.instruction for task in made.tasks if task.output == DECLINE]
    assert declined
    for wrong in ("哪家公司", "in euros", "Which telephone", "During which hours"):
        assert not [question for question in declined if wrong in question]
    assert not [question for question in declined if "Gold Card" in question and not question.isascii()]


def test_coverage_is_reported_per_document() -> None:
    made = run([document(GOLD), document("# Empty", "empty")])
    assert made.figures["coverage"] == {"Gold Account": {"passages": 2, "covered": 2}, "empty": {"passages": 0, "covered": 0}}
    assert (made.figures["documents"], made.figures["documents_covered"]) == (2, 1)


def test_other_data_than_documents_is_refused() -> None:
    rows: Any = type("RowsData", (), {"kind": "rows"})()
    with pytest.raises(DataError, match=r"self_qa needs documents; data\.kind = rows"):
        run([], data=rows)
