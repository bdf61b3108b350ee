"""Personal data and git: report.texts, names of groups, and the warning."""

import hashlib
import json
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.figures.synthesis import Rejected
from stages.records import Example, Message
from stages.report import personal

QUESTION, SOURCE, REJECTED = "My leg hurts, says Ada.", "ada@clinic.org", "Ask Ada about her leg."


@pytest.fixture
def private(inputs: Any) -> Any:
    """Put a patient into every place from which a page takes text."""
    inputs.examples = [
        Example(
            kind="text",
            messages=(Message(role="user", content=f"{QUESTION} {n}"), Message(role="assistant", content=f"Ada {n}")),
            source=f"{n % 7}{SOURCE}",
        )
        for n in range(21)
    ]
    for system in inputs.systems:
        inputs.answers[system] = [f"Dear Ada {n}" for n in range(21)]
        inputs.scores[system] = inputs.scores[system][:21]
    inputs.write()
    funnel = inputs.funnel("self_instruct")
    funnel["rejected"]["length"]["examples"] = [REJECTED]
    funnel["figures"] |= {"passages": 1, "passages_covered": 1, "documents": 1, "documents_covered": 1, "pairs": {}}
    funnel["figures"]["coverage"] = {"ada.md": {"passages": 1, "covered": 1}}
    inputs.json("data/synthetic/self_instruct/funnel.json", funnel)
    confusion = [{"system": "tuned_42", "actual": "Ada", "predicted": "leg"}]
    inputs.json("data/totals.json", {**{s: inputs.totals() for s in inputs.systems}, "confusion": confusion, "reliability": []})
    return inputs


def written(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_text_is_written_if_report_texts_is_false(private: Any, run: Any, capsys: Any) -> None:
    assert written(run(private)).count("Ada") > 10
    private.params.report.texts = False
    capsys.readouterr()
    folder = run(private)
    text = written(folder)
    assert not [word for word in ("Ada", "ada@", "ada.md", "leg hurts", "clinic", '"leg"') if word in text]
    assert "since report.texts is false" in text and "18 rejected by length" in text
    assert capsys.readouterr().err == ""


def test_items_name_groups_without_revealing_them(private: Any, run: Any) -> None:
    rows = [json.loads(line) for line in (run(private) / "items.jsonl").read_text().splitlines()]
    sources = [row["source"] for row in rows]
    assert len(set(sources)) == 7 and "clinic" not in "".join(sources)
    assert [sources[n] == sources[0] for n in range(14)] == [n % 7 == 0 for n in range(14)]


@pytest.mark.parametrize("source", ["ada@clinic.org", "patient 7", "", "两"])
def test_name_of_a_group_cannot_be_found_by_hashing_names(source: str) -> None:
    first, again, other = (personal.pseudonyms([source], secret) for secret in ("ab", "ab", "cd"))
    assert first == again != other
    assert hashlib.sha256(source.encode()).hexdigest()[:16] not in first[source]


@pytest.mark.parametrize(
    "text",
    [
        "write to ada@clinic.org.",
        "a.b+c@mail.clinic.co.uk",
        "+49 30 1234567",
        "call 0049-30-1234567",
        "(030) 123 4567",
        "030/1234567",
        "(415) 555-2671",
        "415-555-2671",
        "13800138000",
        "电话13800138000。",
        "电话：+8613800138000",
        "138-0013-8000",
        "１３８００１３８０００",
        "01701234567",
        "07911123456",
        "ann＠firma.de",
        "ann＠firma．de",
    ],
)
@pytest.mark.parametrize("place", ["prompt", "realigned", "answer", "nearest", "rejected", "label"])
def test_personal_data_in_a_page_causes_a_warning(text: str, place: str, tmp_path: Path, capsys: Any) -> None:
    content: dict[str, Any] = {
        "examples": [],
        "realigned": [],
        "nearest": [],
        "errors": [],
        "found": SimpleNamespace(funnels=[], plots={}),
    }
    match place:
        case "prompt":
            content["examples"] = [{"prompt": [("user", text)]}]
        case "realigned":
            content["realigned"] = [{"prompt": [("user", text)]}]
        case "answer":
            content["errors"] = [{"words": [(text[:7], "same"), ("gone", "missing"), (text[7:], "extra")]}]
        case "nearest":
            content["nearest"] = [[{"sources": [{"text": text}]}]]
        case "rejected":
            rejected = {"length": Rejected(count=1, examples=[text])}
            content["found"].funnels.append(SimpleNamespace(rejected=rejected))
        case "label":
            content["found"].plots["confusion"] = [{"system": "tuned_42", "actual": "yes", "predicted": text}]
    personal.warn(content, tmp_path)
    warning = capsys.readouterr().err
    assert "shows what looks like 1 " in warning and "report.texts=false" in warning and text not in warning


@pytest.mark.parametrize(
    ("name", "text", "warns"),
    [
        ("mine.jsonl", '{"q": "write to ada@clinic.org"}', True),
        ("mine.csv", "q,a\ncall +49 30 1234567,yes", True),
        ("documents/a.md", "ada@clinic.org and bob@clinic.org", True),
        ("own/mine.jsonl", "ada@clinic.org", False),
        ("mine.jsonl", "me@example.org", False),
    ],
)
def test_rows_that_git_would_keep_cause_a_warning(
    name: str, text: str, warns: bool, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data") / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    personal.warn_of_rows(path if path.parent == Path("data") else path.parent, "data.path")
    assert capsys.readouterr().err == ""  # no repository
    subprocess.run(["git", "init", "--quiet"], check=True)
    Path(".gitignore").write_text("/data/own/\n")
    personal.warn_of_rows(path if path.parent == Path("data") else path.parent, "data.path")
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {path} holds what looks like ") if warns else warning == ""
    assert "clinic" not in warning


def test_rows_are_not_searched_where_git_is_missing(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    (tmp_path / "mine.jsonl").write_text("ada@clinic.org")
    monkeypatch.setenv("PATH", "")
    personal.warn_of_rows(tmp_path / "mine.jsonl", "data.path")
    assert capsys.readouterr().err == ""


def test_report_warns_of_its_rows(inputs: Any, run: Any, capsys: Any) -> None:
    rows = inputs.root / "mine.jsonl"
    rows.write_text("ada@clinic.org")
    inputs.params.data, inputs.params.report.texts = inputs.params.data.model_copy(update={"path": str(rows)}), False
    subprocess.run(["git", "init", "--quiet"], cwd=inputs.root, check=True)
    run(inputs)
    assert "mine.jsonl holds what looks like 1 e-mail addresses" in capsys.readouterr().err


def test_report_warns_unless_git_ignores_its_folder(inputs: Any, run: Any, capsys: Any) -> None:
    inputs.answers["tuned_42"] = ["Write to ada@clinic.org"] * len(inputs.examples)
    inputs.write()
    run(inputs)
    assert "1 e-mail addresses" in capsys.readouterr().err  # those below example.org do not count
    subprocess.run(["git", "init", "--quiet"], cwd=inputs.root, check=True)
    (inputs.root / ".gitignore").write_text("reports/\n")
    run(inputs)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "me@example.org", "x@mail.example.com", "2025-01-16", "3.14159265", "0.0123456789",
        "ex-0123456789abcdef", "1,234,567", "order 10023456789", "order 138001380001", "913800138000",
        "A13800138000", "13800138000-2", "#13800138000", "13800138000.50", "$13800138000", "1,380,013,800",
        "1732723200", "1732723200000", "20250116123000", "16.01.2025", "4006381333931", "016000275287",
        "978-3-16-148410-0", "123-456-7890", "123-45-6789", "415-555-0123", "(555) 0", "2025-01-16 415",
        "price 415-555", "$415.55", "4111 1111 1111 1111", "a＠b", "1/2/2025",
    ],
)  # fmt: skip
def test_other_text_is_not_taken_for_personal_data(text: str) -> None:
    assert not personal.EMAIL.search(text) and not personal.PHONE.search(text)


@pytest.mark.parametrize("text", ["a", "a.", "a@", "0 ", "+1 ", "a@a.", "(0"])
def test_search_for_personal_data_takes_linear_time(text: str) -> None:
    def seconds(length: int) -> float:
        start = time.process_time()
        for pattern in (personal.EMAIL, personal.PHONE):
            pattern.findall(text * (length // len(text)))
        return time.process_time() - start

    assert seconds(50_000) < 40 * max(seconds(5_000), 0.001)
