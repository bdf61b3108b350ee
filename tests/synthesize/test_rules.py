"""Self-QA with rules: statements, wordings, subjects, Chinese documents."""

from pathlib import Path

import pytest

from stages.fetch import documents
from stages.synthesize import rules, self_qa
from tests.fixtures.handbook import DATA, GOLD, OPTIONS, asked, document, run


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
