"""PDF, Word and HTML files become texts in a process of their own; damaged, locked and hostile ones are named."""

import io
import zlib
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from stages.errors import DataError
from stages.fetch import conversion
from stages.fetch.conversion import Converted, Unreadable
from tests.fixtures import office
from tests.fixtures.office import NAMESPACE, assembled, docx, pdf

ENTITIES = "".join(f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefghi", "bcdefghij", strict=True))
WORD = f"<w:document {NAMESPACE}><w:body><w:p><w:r><w:t>%s</w:t></w:r></w:p></w:body></w:document>"


def read(folder: Path, name: str, content: bytes) -> Converted | Unreadable:
    path = folder / name
    path.write_bytes(content)
    return conversion.converted([path])[path]


def encrypted(password: str) -> bytes:
    writer, file = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(["Text."])))), io.BytesIO()
    writer.encrypt(password, "owner", algorithm="AES-256")
    writer.write(file)
    return file.getvalue()


def inflating() -> bytes:
    """Return a PDF of two pages, of which the second is small only as long as it is packed."""
    packed = zlib.compress(b"BT /F 12 Tf (aaaaaaaa) Tj ET " * 4_000_000)
    before, _, after = pdf(["Text."], ["x"]).partition(b"7 0 obj")
    stream = b"7 0 obj<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (len(packed), packed)
    return before + stream + after[after.index(b"endobj") :]


def test_pages_of_a_pdf_are_numbered(tmp_path: Path) -> None:
    content = pdf(["First line.", "Second line."], [], ["Third page."])
    assert read(tmp_path, "a.PDF", content) == Converted(
        "a", {"1": "First line.\nSecond line.", "2": "", "3": "Third page."}, []
    )


def test_pdf_that_opens_without_a_password_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "a.pdf", encrypted("")) == Converted("a", {"1": "Text."}, [])


def test_page_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    assert read(tmp_path, "a.pdf", inflating()) == Converted("a", {"1": "Text.", "2": ""}, [])


@pytest.mark.parametrize(
    ("paragraphs", "expected"),
    [
        (
            [("Title", "Fees"), ("", "Intro."), ("heading1", "Cards"), ("", "$3 & up.")],
            ("Fees", "Intro.\n\n## Cards\n\n$3 & up."),
        ),
        ([("heading1", "Fees"), ("heading2", "Cards"), ("", "a_b *")], ("Fees", "## Cards\n\na_b *")),
        ([("heading1", "A"), ("", "a"), ("heading1", "B"), ("heading2", "C")], ("A", "a\n\n## B\n\n### C")),
        ([("", "No heading."), ("heading2", "Cards")], ("a", "No heading.\n\n## Cards")),
        ([("", "月费为10元。")], ("a", "月费为10元。")),
    ],
)
def test_styles_of_a_word_file_are_headings(
    tmp_path: Path, paragraphs: list[tuple[str, str]], expected: tuple[str, str]
) -> None:
    title, text = expected
    assert read(tmp_path, "a.docx", docx(*paragraphs)) == Converted(title, {"": text}, [])


@pytest.mark.parametrize(
    ("body", "text", "missed"),
    [
        ("<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>", "new", []),
        ("<w:p><w:smartTag><w:r><w:t>France</w:t></w:r></w:smartTag></w:p>", "France", []),
        ("<w:p><w:sdt><w:sdtContent><w:r><w:t>chosen</w:t></w:r></w:sdtContent></w:sdt></w:p>", "chosen", []),
        ("<w:p><w:r><w:t>a</w:t><w:br/><w:t>b</w:t></w:r></w:p>", "a\nb", []),
        ("<w:p><w:r><w:t>E =</w:t></w:r><m:oMath><m:r><m:t>mc</m:t></m:r></m:oMath></w:p>", "E =", ["oMath"]),
        ("<w:p><w:r><w:t>On</w:t></w:r><w:fldSimple><w:r><w:t>1 May</w:t></w:r></w:fldSimple></w:p>", "On", ["fldSimple"]),
    ],
    ids=["tracked changes", "smart tag", "content control", "line break", "equation", "field"],
)
def test_elements_of_a_word_file_are_read_or_named(tmp_path: Path, body: str, text: str, missed: list[str]) -> None:
    math = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    content = docx(body=f"<w:document {NAMESPACE} {math}><w:body>{body}</w:body></w:document>")
    assert read(tmp_path, "a.docx", content) == Converted("a", {"": text}, missed)


HIDDEN = "<w:rPr><w:vanish/></w:rPr>"


@pytest.mark.parametrize(
    ("body", "text", "missed"),
    [
        (f"<w:p><w:r>{HIDDEN}<w:t>x</w:t></w:r><w:r><w:t>a</w:t></w:r></w:p>", "a", ["hidden text (1 runs)"]),
        (f"<w:p><w:ins><w:r>{HIDDEN}<w:t>x</w:t></w:r></w:ins><w:r><w:t>a</w:t></w:r></w:p>", "a", ["hidden text (1 runs)"]),
        ("<w:p><w:r><w:rPr><w:vanish w:val='0'/></w:rPr><w:t>a</w:t></w:r></w:p>", "a", []),
        (f"<w:p><w:pPr>{HIDDEN}</w:pPr><w:r><w:t>a</w:t></w:r></w:p>", "a", []),
        ("<w:p><w:r><w:rPr><w:rStyle w:val='Unseen'/></w:rPr><w:t>x</w:t></w:r></w:p>", "", ["hidden text (1 runs)"]),
        ("<w:p><w:pPr><w:pStyle w:val='Unseen'/></w:pPr><w:r><w:t>x</w:t></w:r></w:p>", "", ["hidden text (1 runs)"]),
    ],
    ids=["run", "inserted run", "shown again", "mark of a paragraph", "style of characters", "style of a paragraph"],
)
def test_hidden_text_of_a_word_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, text: str, missed: list[str]
) -> None:
    style = f'<w:style w:type="paragraph" w:styleId="Unseen"><w:name w:val="Unseen"/>{HIDDEN}</w:style>'
    monkeypatch.setattr(office, "STYLES", office.STYLES + style)
    content = docx(body=f"<w:document {NAMESPACE}><w:body>{body}</w:body></w:document>")
    assert read(tmp_path, "a.docx", content) == Converted("a", {"": text}, missed)


@pytest.mark.parametrize("line", ["/g12/g45/g3/g88", "/uni0041/uni0042/uni0043", "\\001\\002\\003 ab"])
def test_page_in_a_font_without_characters_has_no_text(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, "a.pdf", pdf(["Text."], [line])) == Converted("a", {"1": "Text.", "2": ""}, [])


@pytest.mark.parametrize("line", ["see /usr/lib1/x2/y3 and the pages after it, which say more", "1/2/3 of it"])
def test_page_that_names_paths_has_a_text(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, "a.pdf", pdf([line])) == Converted("a", {"1": line}, [])


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<title>Fees &amp; more</title><p>A <b>fee</b> of&nbsp;<a href='x'>$3</a>.", ("Fees & more", "A fee of $3.")),
        ("<title>x</title><h1>Fees<a href='#f'>¶</a></h1><h2>Cards</h2>$3", ("Fees", "## Cards\n\n$3")),
        ("<form><p>Text</p><input value='x'><button>Go</button></form>", ("a", "Text")),
        ("<div><main><p>One</p></main></div><p>ad</p><main><p>Two</p></main>", ("a", "One\n\nTwo")),
        ("<p>10<sup>6</sup>, 1<sup>st</sup>, 2<sup><a href='#n'>1</a></sup></p>", ("a", "10^6, 1st, 21")),
        ("<nav>Home</nav><main><p>Text<script>x()</script><style>p{}</style></main><footer>Us</footer>", ("a", "Text")),
        ("<ul><li>one<li>two</ul><p>a<p>b", ("a", "- one\n- two\n\na\n\nb")),
        ("<table><tr><th>plan<th>fee<tr><td>Gold<td>$3</table>", ("a", "| plan | fee |\n| --- | --- |\n| Gold | $3 |")),
        ("<table><tr><td>plan<td>fee<tr><td>Gold<td>$3</table>", ("a", "| plan | fee |\n| --- | --- |\n| Gold | $3 |")),
        (
            "<table><tr><th>plan<th>fee<th>for<tr><td rowspan=2>Gold<td>$3<td rowspan=9>all<tr><td>$4</table>",
            ("a", "| plan | fee | for |\n| --- | --- | --- |\n| Gold | $3 | all |\n| Gold | $4 | all |"),
        ),
        (
            "<table><tr><td rowspan=0>a<td colspan=2>b<td rowspan=2>c<tr><td>d<tr></table>",
            ("a", "| a | b | | c |\n| --- | --- | --- | --- |\n| a | d |  | c |\n| a |"),
        ),
        (
            "<h1>Fees<button>Copy</button></h1><p hidden>x<p style='a:b;display: none'>y<p style='VISIBILITY:hidden'>z<p>$3",
            ("Fees", "$3"),
        ),
        ("<pre># no heading</pre><h1>x</h1><h1>y</h1>", ("x", "```\n# no heading\n```\n\n## y")),
    ],
)
def test_a_web_page_is_read_without_what_is_around_it(tmp_path: Path, page: str, expected: tuple[str, str]) -> None:
    title, text = expected
    assert read(tmp_path, "a.html", page.encode()) == Converted(title, {"": text}, [])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>Müller".encode(), "Müller"),
        ("\ufeff<p>Müller".encode(), "Müller"),
        ("<p>Müller".encode("utf-16"), "Müller"),
        ("<meta charset=iso-8859-1><p>Müller €3".encode("cp1252"), "Müller €3"),
        ("<meta charset=iso-8859-1><p>Müller".encode(), "Müller"),
        ("<meta charset=gb2312><p>月费".encode("gb2312"), "月费"),
    ],
)
def test_characters_of_a_web_page_are_those_it_declares_or_utf8(tmp_path: Path, content: bytes, text: str) -> None:
    assert read(tmp_path, "a.htm", content) == Converted("a", {"": text}, [])


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.pdf", b"", "damaged or of another form (EmptyFileError)"),
        ("a.pdf", b"hello", "damaged or of another form (PdfStreamError)"),
        ("a.pdf", encrypted("secret"), "encrypted; save it without a password"),
        ("a.pdf", assembled(["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[2 0 R]>>"]), "damaged or"),
        ("a.docx", b"hello", "damaged or of another form (BadZipFile)"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "damaged or of another form (BadZipFile)"),
        ("a.docx", docx(body="<w:document"), "damaged or of another form (ExpatError)"),
        ("a.docx", docx(body=f"<!DOCTYPE d [<!ENTITY a '{'a' * 5000}'>{ENTITIES}]>{WORD % '&j;'}"), "damaged or"),
        ("a.html", "<p>Müller".encode("latin-1"), "not UTF-8; save it as UTF-8"),
        ("a.html", "<meta charset=x-none><p>Müller".encode("latin-1"), "not X-NONE; save it as UTF-8"),
        ("a.html", b"<div>" * 5000 + b"x", "nested too deeply"),
        ("a.html", b"<p>" + b"word " * 2_000_001, "more than 10,000,000 characters; divide it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_has_a_reason(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    found = read(tmp_path, name, content)
    assert isinstance(found, Unreadable)
    assert str(found).startswith(why)


def test_entity_that_names_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret", encoding="utf-8")
    entity = f"<!DOCTYPE d [<!ENTITY a SYSTEM 'file://{tmp_path}/secret'>]>"
    assert "s3cret" not in str(read(tmp_path, "a.docx", docx(body=entity + WORD % "x&a;")))


def test_reading_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "SECONDS", 1)
    monkeypatch.setattr(conversion, "WAITS", 99)
    found = read(tmp_path, "a.docx", docx(body=WORD % ("</w:t></w:r></w:p><w:p><w:r><w:t>a" * 200_000)))
    assert str(found) == "takes more than 1 s or too much memory to read"


def test_waiting_has_an_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "WAITS", 0.001)
    assert str(read(tmp_path, "a.html", b"x")) == "takes more than 0 s to read"


def test_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MEMORY", 200 * 2**20)
    assert str(read(tmp_path, "a.html", b"<p>" + b"word " * 20_000_000)) == "needs too much memory"


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.html", "a.HTM"])
def test_missing_extra_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(conversion, "find_spec", lambda _: None)
    suffix = Path(name).suffix
    with pytest.raises(DataError) as error:
        read(tmp_path, name, b"x")
    remedy = "pip install -e '.[documents]', or move the file away"
    assert str(error.value) == f"{tmp_path / name}: what reads {suffix} files is not installed; {remedy}"
