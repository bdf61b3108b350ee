"""Documents of a folder or a wheel, and questions about them; unreadable ones are left out with a warning."""

import gzip
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import documents
from stages.params import DocumentsData, FolderDocuments, Passage, WheelDocuments
from stages.text import passages
from tests.fixtures.office import NAMESPACE, docx, pdf

DECLINE = "I do not know."
HANDBOOK = Path(__file__).parents[2] / "data" / "authored" / "handbook"
WHEEL = WheelDocuments(source="wheel", package="bank==1", file="bank/documents.json.gz", sha256="0" * 64)


def question(**changed: Any) -> str:
    return json.dumps({"question": "How much?", "answer": "$3", "source": "a.md", "answerable": True} | changed) + "\n"


def data(
    path: Path, source: Any = None, include: str = "*", subject: str | None = None, out_of_domain: str | None = None
) -> DocumentsData:
    return DocumentsData(
        kind="documents",
        path=str(path),
        documents=source or FolderDocuments(source="folder"),
        include=include,
        subject=subject,
        system="Answer.",
        decline=DECLINE,
        out_of_domain=out_of_domain,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one document and a question about it per split."""
    (tmp_path / "documents" / "sub").mkdir(parents=True)
    (tmp_path / "documents" / "a.md").write_text("# Fees\nThe fee is $3.", encoding="utf-8")
    for split in ("valid", "test"):
        (tmp_path / f"{split}.jsonl").write_text(question(question=f"How much in {split}?"), encoding="utf-8")
    return tmp_path


def texts(folder: Path, **how: Any) -> dict[str, str]:
    return {document.source: document.text for document in documents.fetch(data(folder, **how))[0]}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("sub/b.txt", b"Line one\r\nLine two\r\n", "# b\nLine one\nLine two"),
        ("b.md", "\ufeff# Title\r\nBody".encode(), "# Title\nBody"),
        ("b.md", b"## Section\nBody", "# b\n## Section\nBody"),
        ("b.md", b"one line", "# b\none line"),
        ("b.markdown", b"# Title\nBody", "# Title\nBody"),
        ("b.md", "# 账户\n月费为10元。".encode(), "# 账户\n月费为10元。"),
        ("b.MD", b"{{ 7*7 }} {% raw %}\0", "# b\n{{ 7*7 }} {% raw %}"),
    ],
)
def test_a_text_stands_below_its_title(folder: Path, name: str, content: bytes, text: str) -> None:
    (folder / "documents" / name).write_bytes(content)
    assert texts(folder)[name] == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("---\ntitle: Fees\ntags:\n  - a\n---\n\n# Fees\n$3", "# Fees\n$3"),
        ("---\n# made by x\nlayout: page\n...\n$3", "# b\n$3"),
        ("+++\ntitle = 'Fees'\n[a]\n+++\n# Fees\n$3", "# Fees\n$3"),
        ("---\nA rule, and a text: $3\n---\nmore", "# b\n---\nA rule, and a text: $3\n---\nmore"),
        ("---\ntitle: no end\n\n$3", "# b\n---\ntitle: no end\n\n$3"),
        ("<!-- license\nMIT -->\n# Fees\n$3 <!-- or\n$4? -->a year", "# Fees\n$3 a year"),
        ("Write `<!-- x -->`.\n```html\n<!-- y -->\n```\n<!-- z -->", "# b\nWrite `<!-- x -->`.\n```html\n<!-- y -->\n```"),
        ("$3 <!-- no end\n```\nx", "# b\n$3 <!-- no end\n```\nx"),
    ],
)
def test_front_matter_and_comments_are_not_read(folder: Path, content: str, text: str) -> None:
    (folder / "documents" / "b.md").write_text(content, encoding="utf-8")
    (folder / "documents" / "c.txt").write_text(content, encoding="utf-8")
    found = texts(folder)
    assert found["b.md"] == text
    assert content.strip("\n").removeprefix("# ") in found["c.txt"]


def test_front_matter_and_comments_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.md", "c.md"):
        (folder / "documents" / name).write_text("---\na: b\n---\n<!-- x -->$3<!-- y -->", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        texts(folder)
    assert caplog.messages == [
        "documents/: 2 blocks of front matter in 2 files not read: b.md, c.md",
        "documents/: 4 HTML comments in 2 files not read: b.md, c.md",
    ]


@pytest.mark.parametrize("part", ["<!-- ", "`", "```\n", "---\na: b\n", "-->", "    ```", "<!--`\n"])
def test_markdown_is_read_in_linear_time(folder: Path, part: str) -> None:
    start = time.process_time()
    documents._without_comments(part * 300_000)
    documents.FRONT.match("---\na: b\n" + part * 300_000)
    documents.FRONT.match("\n" * 300_000 + part)
    assert time.process_time() - start < 10


def test_table_gives_one_document_per_row(folder: Path) -> None:
    table = '\ufeffplan,fee,note\r\nBlue,$1,\r\nRed,$2,"a, b"\r\nbroken\r\n'
    (folder / "documents" / "plans.csv").write_bytes(table.encode())
    found = texts(folder)
    assert found["plans.csv:1"] == "# Blue\nThe fee of Blue is $1."
    assert found["plans.csv:2"] == "# Red\nThe fee of Red is $2.\nThe note of Red is a, b."
    assert "plans.csv:3" not in found


@pytest.mark.parametrize("name", ["plans.csv", "plans.tsv"])
def test_table_with_tabs_is_read(folder: Path, name: str) -> None:
    (folder / "documents" / name).write_text("plan\tfee\nBlue\t$1,000\n", encoding="utf-8")
    assert texts(folder)[f"{name}:1"] == "# Blue\nThe fee of Blue is $1,000."


def test_graph_gives_one_document_per_subject(folder: Path) -> None:
    facts = "subject,relation,object,source\nFlu,sign,fever,x\nCold,sign,cough,x\nFlu,cause,virus,x\nFlu,sign,,x\n"
    facts += "流感,症状,发热,x\n"
    (folder / "documents" / "graph.csv").write_text(facts, encoding="utf-8")
    found = texts(folder)
    assert found["graph.csv:Flu"] == "# Flu\nThe sign of Flu is fever.\nThe cause of Flu is virus."
    assert found["graph.csv:Cold"] == "# Cold\nThe sign of Cold is cough."
    assert found["graph.csv:流感"] == "# 流感\n流感的症状是发热。"


def test_graph_header_may_have_capitals_and_spaces(folder: Path) -> None:
    (folder / "documents" / "graph.csv").write_text("Subject, Relation ,OBJECT\nFlu,sign,fever\n", encoding="utf-8")
    assert texts(folder)["graph.csv:Flu"] == "# Flu\nThe sign of Flu is fever."


def test_a_chinese_table_gives_chinese_sentences(folder: Path) -> None:
    (folder / "documents" / "plans.csv").write_text("账户,月费,说明\n金账户,10元,\n银账户,{name},ATM", encoding="utf-8")
    found = texts(folder)
    assert found["plans.csv:1"] == "# 金账户\n金账户的月费是10元。"
    assert found["plans.csv:2"] == "# 银账户\n银账户的月费是{name}。\n银账户的说明是ATM。"


def test_rows_without_a_name_are_left_out_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "documents" / "plans.csv").write_text("plan,fee\n,$1\nRed,$2\n ,$3\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert {name: text for name, text in texts(folder).items() if name != "a.md"} == {
            "plans.csv:2": "# Red\nThe fee of Red is $2."
        }
    assert "plans.csv: 2 rows left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("b.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("b.md", b"", "empty"),
        ("b.md", b" \r\n", "empty"),
        ("b.md", b"<!-- to do -->\n", "empty"),
        (
            "b.txt",
            b"{\\rtf1\\ansi The fee is $3.}",
            "b.txt: left out: the file is RTF; save it as plain text, or a document as .docx",
        ),
        ("b.csv", b"", "empty"),
        ("b.csv", b",,\n , ,\n", "b.csv: left out: empty"),
        ("b.csv", b"plan;fee\nBlue;$1\n", "b.csv:1: left out: separated by ';'; save it with commas"),
        (
            "b.csv",
            b"plan,fee\nBlue,$1\n\xef\xbb\xbfplan,fee\nRed,$2\n",
            "b.csv:3: left out: a second byte order mark; two exports",
        ),
        ("b.csv", b"plan,fee\nBlue,$1\nplan,fee\nRed,$2\n", "b.csv:3: left out: the header again; two exports"),
        ("b.csv", b"plan,,fee\nBlue,x,$1\n", "b.csv: left out: column 2 has no name in the header; name it"),
        ("b.md", b"\n<!DOCTYPE html>\n<p>$3", "b.md: left out: a web page; name the file .html"),
        ("b.txt", b"<HTML lang=en><p>$3", "b.txt: left out: a web page; name the file .html"),
        ("b.html", b"%PDF-1.7 ", "b.html: left out: the file is a PDF; name the file .pdf"),
        ("b.html", b"{\\rtf1 $3}", "b.html: left out: the file is RTF; save it as .docx"),
        ("b.csv", b"PK\x03\x04", "b.csv: left out: the file is a zip archive"),
    ],
)
def test_bad_document_is_left_out_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes, why: str
) -> None:
    (folder / "documents" / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert list(texts(folder)) == ["a.md"]
    assert name in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("link", ["b.md", "b.csv", "b.pdf", "sub/b.txt", "up.md", "dead.md", "loop.md", "folder"])
def test_link_out_of_the_folder_is_not_read(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, link: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.md").write_text("name,key\nmy key,s3cret\n", encoding="utf-8")
    targets = {"up.md": Path("../valid.jsonl"), "dead.md": outside / "gone", "loop.md": Path("loop.md"), "folder": outside}
    (folder / "documents" / link).symlink_to(targets.get(link, outside / "secret.md"))
    with caplog.at_level(logging.WARNING):
        assert list(texts(folder)) == ["a.md"]
    assert link == "folder" or f"{link}: left out: " in caplog.text


@pytest.mark.parametrize("name", [b"caf\xe9.md", b"\xff.csv", b"sub/\xe9.txt"])
def test_name_that_is_not_utf8_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture, name: bytes) -> None:
    Path(os.fsdecode(bytes(folder / "documents") + b"/" + name)).write_text("name,fee\nGold,5\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert list(texts(folder)) == ["a.md"]
    assert "left out: its name is not UTF-8; rename the file" in caplog.text
    assert caplog.text.encode()


@pytest.mark.parametrize("name", ["b.md", "b.csv", "sub/b.TXT"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, name: str, make: Callable[[Path], None]
) -> None:
    make(folder / "documents" / name)
    with caplog.at_level(logging.WARNING):
        assert list(texts(folder)) == ["a.md"]
    assert f"{name}: left out: not a file" in caplog.text


def test_page_or_heading_stands_in_the_lineage_of_a_passage(folder: Path) -> None:
    (folder / "documents" / "sub" / "rules.pdf").write_bytes(pdf(["Opens at 9."], ["Closes at 5."]))
    (folder / "documents" / "fees.docx").write_bytes(docx(("heading1", "Fees"), ("heading2", "Cards"), ("", "$5 a year.")))
    (folder / "documents" / "b.html").write_text("<h1>Loans</h1><h2>Cars</h2><p>3 %", encoding="utf-8")
    found = [passage for one in documents.fetch(data(folder))[0] for passage in passages.cut(one, Passage(words=50, overlap=0))]
    assert {passage.source: passage.text for passage in found if passage.source != "a.md"} == {
        "b.html": "# Loans\n## Cars\n3 %",
        "fees.docx": "# Fees\n## Cards\n$5 a year.",
        "sub/rules.pdf:1": "# rules\nOpens at 9.",
        "sub/rules.pdf:2": "# rules\nCloses at 5.",
    }


def test_pages_without_text_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "documents" / "rules.pdf").write_bytes(pdf(["Opens at 9."], [], ["Closes at 5."], []))
    (folder / "documents" / "scan.pdf").write_bytes(pdf([]))
    with caplog.at_level(logging.WARNING):
        assert sorted(texts(folder)) == ["a.md", "rules.pdf:1", "rules.pdf:3"]
    assert "rules.pdf: 2 of 4 pages left out, without text that can be read: 2, 4" in caplog.text
    assert "scan.pdf: left out: no text that can be read; a scan needs text recognition first" in caplog.text


def test_what_of_a_word_file_is_not_read_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    math = '<m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"/>'
    body = f"<w:document {NAMESPACE}><w:body><w:p><w:r><w:t>E =</w:t></w:r>{math}</w:p></w:body></w:document>"
    (folder / "documents" / "b.docx").write_bytes(docx(body=body))
    with caplog.at_level(logging.WARNING):
        assert texts(folder)["b.docx"] == "# b\nE ="
    assert caplog.messages == ["b.docx: read without these elements of Word: oMath"]


@pytest.mark.parametrize("name", ["b.pdf", "b.docx", "b.html"])
def test_damaged_document_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    (folder / "documents" / name).write_bytes(b"\xff\xff")
    with caplog.at_level(logging.WARNING):
        assert list(texts(folder)) == ["a.md"]
    assert f"{name}: left out: " in caplog.text


def test_what_is_passed_over_is_named_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.doc", "b.png", "c.PNG", "d.rst", "sub/e.epub", "LICENSE", ".DS_Store"):
        (folder / "documents" / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert list(texts(folder)) == ["a.md"]
    forms = "2 .png, 1 without an ending, 1 .doc, 1 .rst, 1 .epub"
    named = "LICENSE, a.doc, b.png, c.PNG, d.rst, …"
    assert caplog.messages == [f"documents/: 6 files left out, of forms that are not read: {forms} ({named})"]


def test_folder_without_other_files_warns_of_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts(folder)
    assert caplog.messages == []


def test_question_about_a_whole_pdf_is_told_its_pages(folder: Path) -> None:
    (folder / "documents" / "rules.pdf").write_bytes(pdf(["Opens at 9."], ["Closes at 5."]))
    (folder / "test.jsonl").write_text(question(source="rules.pdf"), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"'rules\.pdf' is not a document; name one of its pages or rows, e\.g\. 'rules\.pdf:1'"
    ):
        documents.fetch(data(folder))


def test_link_within_the_folder_is_read(folder: Path) -> None:
    (folder / "documents" / "b.md").symlink_to("a.md")
    (folder / "documents" / "sub" / "c.md").symlink_to(folder / "documents" / "a.md")
    assert sorted(texts(folder)) == ["a.md", "b.md", "sub/c.md"]


def test_no_document_at_all_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.include = z\*: no readable document of 1"):
        documents.fetch(data(folder, include="z*"))


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that replaces the download by a file."""

    def put(content: bytes) -> None:
        path = tmp_path / "documents.json.gz"
        path.write_bytes(gzip.compress(content))
        monkeypatch.setattr(documents.wheel, "extract", lambda *_: path)

    return put


def test_wheel_documents_are_chosen_by_id(folder: Path, wheel: Any) -> None:
    items = [
        {"id": "doc_eco_plan_(home)_001", "title": "Eco Plan (home): fees", "content": "## Fees\r\n- none"},
        {"id": "doc_eco_plan_(home)_002", "title": "Interest", "content": "daily"},
        {"id": "other_001", "title": "Other", "content": "x"},
    ]
    wheel(json.dumps(items).encode())
    for split in ("valid", "test"):
        (folder / f"{split}.jsonl").write_text(question(source=items[0]["id"]), encoding="utf-8")
    assert texts(folder, source=WHEEL, include="doc_*", subject=r"doc_(.+)_\d+") == {
        items[0]["id"]: "# Eco Plan (home)\n## Eco Plan (home): fees\n### Fees\n- none",
        items[1]["id"]: "# Eco Plan (home)\n## Interest\ndaily",
    }


@pytest.mark.parametrize("content", [b"no JSON", b"3", b'[{"id": "x"}]', b'[{"id": "x", "title": "t", "content": null}]'])
def test_a_wheel_with_something_else_is_refused(folder: Path, wheel: Any, content: bytes) -> None:
    wheel(content)
    with pytest.raises(DataError, match=r"data\.documents\.file = bank/documents\.json\.gz: must be a list of objects"):
        documents.fetch(data(folder, source=WHEEL))


def test_train_questions_are_optional(folder: Path) -> None:
    unanswerable = question(question="When?", answer=DECLINE, answerable=False)
    (folder / "test.jsonl").write_bytes(("\ufeff" + question() + unanswerable).replace("\n", "\r\n").encode())
    _, splits = documents.fetch(data(folder))
    assert (len(splits["train"]), len(splits["valid"]), len(splits["test"])) == (0, 1, 2)
    first, second = splits["test"]
    assert (first.instruction, first.output, first.source, first.slices) == ("How much?", "$3", "a.md", ("answerable",))
    assert (second.output, second.slices, second.system) == (DECLINE, ("unanswerable",), "Answer.")


def test_question_without_source_is_out_of_domain(folder: Path) -> None:
    lines = [question(question=asked, answer=DECLINE, source=None, answerable=False) for asked in ("Who?", "Where?")]
    (folder / "test.jsonl").write_text("".join(lines), encoding="utf-8")
    tasks = documents.fetch(data(folder))[1]["test"]
    assert [(task.slices, task.output) for task in tasks] == [(("out_of_domain",), DECLINE)] * 2
    assert len({task.source for task in tasks}) == 2  # clusters of their own


def test_out_of_domain_questions_are_read(folder: Path) -> None:
    assert documents.out_of_domain(data(folder)) == []
    (folder / "others.txt").write_text("Who are you?\n\n Tell me a joke. \nWho are you?\n", encoding="utf-8")
    found = documents.out_of_domain(data(folder, out_of_domain="others.txt"))
    assert [(each.text, each.source) for each in found] == [
        (text, "others.txt") for text in ("Who are you?", "Tell me a joke.")
    ]


def test_empty_out_of_domain_file_is_refused(folder: Path) -> None:
    (folder / "others.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.out_of_domain: .*others\.txt is empty; write one question per line"):
        documents.out_of_domain(data(folder, out_of_domain="others.txt"))


def test_handbook_asks_enough_of_each_kind() -> None:
    asked = {split: [json.loads(line) for line in (HANDBOOK / f"{split}.jsonl").open()] for split in ("valid", "test")}
    for rows in asked.values():
        kinds = Counter((row["answerable"], row["source"] is None) for row in rows)
        assert kinds[True, False] >= 60 and kinds[False, False] + kinds[False, True] >= 60
    own = (HANDBOOK / "out_of_domain.txt").read_text(encoding="utf-8").splitlines()
    every = [question.casefold() for question in (*own, *(row["question"] for rows in asked.values() for row in rows))]
    assert len(set(every)) == len(every)


def test_own_training_questions_are_used(folder: Path) -> None:
    (folder / "train.jsonl").write_text(question(), encoding="utf-8")
    assert len(documents.fetch(data(folder))[1]["train"]) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{\n", r"test\.jsonl:2: Invalid JSON"),
        (question(answer=3), r"test\.jsonl:2: answer: Input should be a valid string"),
        (question(extra=1), r"test\.jsonl:2: extra: Extra inputs"),
        (question(source="b.md"), r"test\.jsonl:2: source 'b\.md' is not a document"),
        (question(source=None), r"test\.jsonl:2: source is null, but answerable is true"),
        (question(answerable=False), r"test\.jsonl:2: .*data\.decline = 'I do not know\.'"),
    ],
)
def test_a_wrong_question_is_named_by_file_and_line(folder: Path, line: str, message: str) -> None:
    (folder / "test.jsonl").write_text(question() + line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        documents.fetch(data(folder))


def test_a_missing_question_file_is_named(folder: Path) -> None:
    (folder / "valid.jsonl").unlink()
    with pytest.raises(DataError, match=r"valid\.jsonl: no such file"):
        documents.fetch(data(folder))
