"""Self-QA with a scripted teacher: filters, lineage, coverage, budgets, shares of rows, questions to decline."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.format import chats
from stages.format.retrieval import with_passages
from stages.params import Shares
from stages.records import Document
from stages.synthesize import rows, rules
from stages.synthesize.made import funnel
from stages.synthesize.pairs import QaPair
from stages.text.bm25 import BM25
from stages.text.passages import cut
from tests.fixtures.handbook import DATA, DECLINE, GOLD, OPTIONS, SILVER, asked, document, many, plan_teacher, run, teacher
from tests.fixtures.scripted import Answer


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


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


QUESTION = "1. What is the yearly fee of Plan 0?"


@pytest.mark.parametrize(
    ("question", "answer", "again", "filter", "reason"),
    [
        ("", "", "", "parsed", "is empty"),
        ("1. What is the", "", "", "parsed", "is not a question"),
        (("1. What is the", False), "", "", "parsed", "was cut off at max_new_tokens"),
        (("", False), "", "", "parsed", "is empty"),
        (QUESTION, "", "", "parsed", "is empty"),
        (QUESTION, ("$0.50", False), "", "parsed", "was cut off at max_new_tokens"),
        (QUESTION, "$0.50", ("", False), "round_trip", "token F1 0.00 with the second answer '', which is empty"),
        (QUESTION, "$0.50", "no idea", "round_trip", "token F1 0.00 with the second answer 'no idea'"),
    ],
)
def test_rejected_pair_names_the_fault_of_the_reply(
    question: Answer, answer: Answer, again: Answer, filter: str, reason: str
) -> None:
    replies = {"question": question, "answer": answer, "again": again}
    made = run(many(1), teacher(lambda sort, _: replies[sort]), generator="teacher")
    assert [(one.filter, one.reason) for one in made.rejected] == [(filter, reason)]


def test_whole_questions_of_a_cut_reply_are_used() -> None:
    reply = {"question": (f"{QUESTION}\n2. What is the", False), "answer": "$0.50", "again": "$0.50"}
    made = run(many(1), teacher(lambda sort, _: reply[sort]), generator="teacher")
    assert (len(made.kept), [one.reason for one in made.rejected]) == (1, ["was cut off at max_new_tokens"])


def test_quotes_around_questions_and_answers_are_removed() -> None:
    reply = {"question": '1. "What is the yearly fee of Plan 0?"', "answer": "“$0.50”", "again": '"$0.50"'}
    made = run(many(1), teacher(lambda sort, _: reply[sort]), generator="teacher")
    assert asked(made) == {"What is the yearly fee of Plan 0?": "$0.50"}


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
def test_a_question_that_points_at_its_passage_is_rejected(question: str) -> None:
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
    documents = many(60)
    first = teacher()
    run(documents, first, generator="teacher")
    assert first.asked == 3 * 60

    documents[17] = document("# Plan 17\n## Fees\n- Yearly fee: $18.00", "plan-17")
    again = teacher()
    made = run(documents, again, generator="teacher")
    assert again.asked == 3
    assert all("# Plan 17\n" in prompt for prompt in again.backend.prompts)  # type: ignore[attr-defined]
    assert len(made.kept) == 60


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
    assert made.figures["rows_by_form"]["unanswerable with_passage"] == 8
    assert all(task.input.startswith("# Plan") for task in by["with_passage"])
    assert all(task.input == "" for task in by["closed_book"])
    assert all(task.system == DATA.system for task in made.tasks)


def test_missing_questions_to_decline_are_named() -> None:
    few, many_of_them = (
        Shares(with_passage=0.0, unanswerable=share, wrong_passage=0.0, out_of_domain=0.0) for share in (0.2, 0.8)
    )
    assert run([document(GOLD)], shares=few).lacking == ""
    made = run([document(GOLD)], shares=many_of_them)
    asked = sum(task.output == DECLINE for task in made.tasks)
    wanted = 4 * (len(made.tasks) - asked)
    assert made.lacking.startswith(f"self_qa made {asked} of {wanted} questions that no document answers")


def test_out_of_domain_questions_are_declined() -> None:
    others = [Document(text=f"Who is number {number}?", kind="question", source="others.txt") for number in range(99)]
    made = run(many(40), seeds=others)
    outside = [task for task in made.tasks if "out_of_domain" in task.slices]
    assert {task.output for task in outside} == {DECLINE}
    assert {task.parents[0] for task in outside} <= {other.id for other in others}
    forms = made.figures["rows_by_form"]
    assert forms["out_of_domain"] == 44  # a fifth of the 218 rows that 120 closed-book ones, 55 % of all, make up
    assert forms["out_of_domain with_passage"] in (5, 6)  # half of a twentieth: every question finds the passage of its plan
    assert run(many(40), seeds=others[:9]).figures["rows_by_form"]["out_of_domain"] == 9


def test_rows_with_a_passage_have_the_form_of_a_test() -> None:
    documents = [document(GOLD), document(SILVER), *many(9)]
    others = [Document(text=f"Who is number {number}?", kind="question", source="others.txt") for number in range(9)]
    shares = Shares(with_passage=0.2, unanswerable=0.1, wrong_passage=0.2, out_of_domain=0.1)
    shown = [task for task in run(documents, seeds=others, shares=shares).tasks if task.input]
    asked = [chats.example(task.model_copy(update={"input": ""})) for task in shown]
    passages = [passage for each in documents for passage in cut(each, OPTIONS.passage)]
    assert [chats.example(task).messages for task in shown] == [row.messages for row in with_passages(asked, passages)]
    forms = {task.slices[:-1] for task in shown}
    assert forms == {("with_passage",), ("unanswerable", "with_passage"), ("out_of_domain", "with_passage")}


@pytest.mark.parametrize(("found", "declined"), [("The silver card is free.", True), ("The silver card costs $10.", False)])
def test_answer_that_stands_in_another_passage_is_declined(found: str, declined: bool) -> None:
    own, other = (Document(text=text, kind="passage", source="d") for text in ("The card costs $10.", found))
    pair = QaPair(own, "rules", "What does the silver card cost?", "$10")
    shares = Shares(with_passage=0.4, unanswerable=0.0, wrong_passage=0.4, out_of_domain=0.0)
    options = OPTIONS.model_copy(update={"shares": shares})
    made = rows.tasks([pair], BM25([own, other]), [], DATA, options, random.Random(1))
    assert [(task.input, task.output) for task in made if task.input] == [(found, DECLINE)] * declined
    assert made[0].output == "$10"  # without a passage, the answer is given from memory


def test_unanswerable_questions_vary_as_the_others_do() -> None:
    starts = Counter(" ".join(question.split()[:2]) for question in rules.unsaid("Gold Account", "monthly fee", ""))
    assert {"Gold Account:", "Please tell", "I have"} <= starts.keys()  # as rules.yaml begins questions with an answer
    assert max(starts.values()) < starts.total() / 3
    assert len(starts) > starts.total() / 3


def test_declined_questions_lack_an_answer_in_the_documents() -> None:
    shares = Shares(with_passage=0.0, unanswerable=0.6, wrong_passage=0.2, out_of_domain=0.0)
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
    made = run(
        [document(text) for text in texts],
        shares=Shares(with_passage=0.0, unanswerable=0.4, wrong_passage=0.0, out_of_domain=0.0),
    )
    declined = [task.instruction for task in made.tasks if "unanswerable" in task.slices]
    assert len(declined) > 1
    assert all("账户" in question and not question.isascii() for question in declined)


def test_reworded_or_translated_facts_are_not_declined() -> None:
    shares = Shares(with_passage=0.0, unanswerable=0.9, wrong_passage=0.0, out_of_domain=0.0)
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
