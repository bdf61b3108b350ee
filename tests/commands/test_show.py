"""`tunetrail show`: rows as the model sees them, what the audit found, and rows that were left out."""

import contextlib
import json
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages import cli
from stages.commands import show
from stages.errors import DataError
from stages.params import compose
from tests.fixtures.formatting import formatted
from tests.fixtures.own_rows import jsonl

pytestmark = pytest.mark.model

Show = Callable[..., str]
OWN = (
    "synthesis=none",
    "data=rows",
    "data.path=mine.jsonl",
    "data.valid=0.2",
    "data.test=0.2",
    "report.headline=token_f1",
    "name=mine",
)
PLAIN = [{"question": f"Which tray holds lot {n}?", "answer": f"tray {n * 7}"} for n in range(40)]
HOSTILE = "\x1b[31m red \x9b2J\r\u202e ⟦mark⟧ \ud7ff"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the formatted rows that most tests show."""
    folder = tmp_path_factory.mktemp("plain")
    with contextlib.chdir(folder):
        jsonl(folder, PLAIN)
        formatted(folder, *OWN)
    return folder


@pytest.fixture
def shown(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Show]:
    """Return a function that formats rows and returns another one, which returns what `show` prints."""
    monkeypatch.chdir(tmp_path)

    def make(rows: list[dict[str, Any]], *overrides: str) -> Show:
        if rows is PLAIN and not overrides:
            shutil.copytree(plain, tmp_path, symlinks=True, dirs_exist_ok=True)
        else:
            jsonl(tmp_path, rows)
            formatted(tmp_path, *OWN, *overrides)

        def run(split: str = "train", count: int = 5, id: str | None = None) -> str:
            capsys.readouterr()
            show.show(split, count, id)
            return capsys.readouterr().out

        return run

    return make


def ids(path: str) -> dict[str, str]:
    """Return the ids of rows by their last question."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {row["messages"][-2]["content"] if "messages" in row else row["input"]: row["id"] for row in rows}


def test_first_rows_are_those_of_trained_on(shown: Callable[..., Show]) -> None:
    page = Path("data/formatted/trained_on.txt")
    output = shown(PLAIN)()
    for part in page.read_text(encoding="utf-8").split("\n\n"):
        head, text = part.split("\n", 1)
        row = re.escape(textwrap.indent(text.strip(), show.INDENT))
        assert re.search(rf"{head}: train, \d+ tokens, \d+ supervised; source row-\w+\n{row}\n\n", output)
    assert output.count("# ex-") == 5
    assert "assistant\n    ⟦tray " in output


@pytest.mark.parametrize("end", ["\n", "\n\n", "\u2028", "\u2029"])
def test_text_of_a_row_cannot_forge_a_heading(shown: Callable[..., Show], end: str) -> None:
    forged = (
        f"{end}# ex-0123: train, 9 tokens, 9 supervised; source row-1{end}left out of train: 9 rows{end}  ex-0123: none{end}"
    )
    output = shown([{"question": f"Lot {n}?{forged}", "answer": f"tray{forged}"} for n in range(40)])(count=3)
    assert output.count("# ex-0123") == 6
    own = [line for line in output.splitlines() if line and not line.startswith(show.INDENT)]
    assert len([line for line in own if line.startswith("# ")]) == 3
    assert "0123" not in "".join(own) and "9 rows" not in "".join(own)


def test_audit_has_the_names_of_the_report(shown: Callable[..., Show]) -> None:
    run = shown(PLAIN)
    audit = json.loads(Path("data/formatted/audit.json").read_text(encoding="utf-8"))["splits"]
    for split in ("train", "valid", "test"):
        (line,) = [line for line in run(split, 1).splitlines() if line.startswith(f"{split}: ")]
        assert f"rows {audit[split]['rows']}, tokens {audit[split]['tokens']:,}, supervised tokens" in line
        assert line.endswith("end supervised 100.0 %")
    assert run("shots", 1).count("# ex-") == 1


def test_terminal_shows_what_is_trained_on_in_color(shown: Callable[..., Show], monkeypatch: pytest.MonkeyPatch) -> None:
    run = shown(PLAIN)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert re.search(r"assistant\n\x1b\[1;32mtray \d+<\|im_end\|>\x1b\[0m\n", run())
    assert "⟦" not in run()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run()
    assert "⟦tray" in run()


def test_hostile_text_writes_no_control_sequence(shown: Callable[..., Show], monkeypatch: pytest.MonkeyPatch) -> None:
    run = shown([{"question": f"{HOSTILE} {n}", "answer": f"{HOSTILE} {n}"} for n in range(40)])
    plain = run(count=30)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", plain)
    assert plain.count("⟦") == plain.count("⟧") == plain.count("# ex-")
    assert r"\x1b[31m red \x9b2J\r\u202e \u27e6mark\u27e7" in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    own = re.compile(r"\x1b\[(?:1|1;32|0)m")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", own.sub("", run(count=30)))


LONG = [{"question": f"Which tray holds the long lot {n}? " + "word " * 40, "answer": "y" * 30} for n in range(10)]


def test_rows_left_out_are_listed_with_their_reason(shown: Callable[..., Show]) -> None:
    copied = [{"question": row["question"].replace("tray", "tray,"), "answer": "copied"} for row in PLAIN]
    run = shown([*PLAIN, *copied, *LONG], "format.max_length=200")
    audit = json.loads(Path("data/formatted/audit.json").read_text(encoding="utf-8"))
    overlapping, dropped = sum(audit["overlap"].values()), audit["splits"]["train"]["dropped"]
    assert overlapping > 0 < dropped
    output = run(count=99)
    assert f"left out of train: {overlapping + dropped} rows, {overlapping} of them as overlapping" in output
    listed = dict(re.findall(r"^  (ex-\w+): (.*)$", output, re.MULTILINE))
    assert len(listed) == overlapping + dropped
    kept, raw = ids("data/formatted/train.jsonl"), ids("data/raw/train.jsonl")
    assert not {*listed} & {*kept.values()}
    for question in raw.keys() - kept.keys():
        row = run(id=raw[question])
        reason = (
            "longer than format.max_length = 200: dropped"
            if "long lot" in question
            else "overlapping: has the prompt or 10 words in sequence of "
        )
        assert re.match(r"# ex-\w+: left out of train, ", row)
        assert row.splitlines()[1].startswith(f"# {reason}")


def test_row_is_cut_where_training_cuts_it(shown: Callable[..., Show]) -> None:
    run = shown([*PLAIN, *LONG], "format.max_length=270", "format.overlong=truncate")
    (row,) = {ids("data/formatted/train.jsonl")[q] for q in ids("data/formatted/train.jsonl") if "long lot 1?" in q}
    output = run(id=row)
    assert ": train, 270 tokens, " in output
    assert "# longer than format.max_length = 270: cut there\n# its answer does not end with a token" in output
    assert re.search(r"⟦y{1,29}⟧\n", output)


def test_options_of_training_are_named(shown: Callable[..., Show]) -> None:
    assert "prompt_loss_weight" not in shown(PLAIN)()
    assert "train.prompt_loss_weight = 0.1: prompts are trained on too" in shown(PLAIN, "train.prompt_loss_weight=0.1")()


def test_control_tokens_in_a_row_are_named(shown: Callable[..., Show]) -> None:
    run = shown([{"question": f"Is <|im_end|> number {n}?", "answer": "no"} for n in range(40)])
    assert run(count=1).splitlines()[1] == "# holds control tokens of the model, encoded as text"


def test_unknown_and_ambiguous_ids_are_refused(shown: Callable[..., Show]) -> None:
    run = shown(PLAIN)
    with pytest.raises(DataError, match=r"^ex-zz: no row of this run; take an id from"):
        run(id="ex-zz")
    with pytest.raises(
        DataError, match=r"^ex-: \d+ rows have an id or a parent like this, e\.g\. ex-\w+, ex-\w+, ex-\w+; give"
    ):
        run(id="ex-")


def test_rows_of_another_tokenizer_are_refused(shown: Callable[..., Show]) -> None:
    run = shown(PLAIN)
    path = Path("data/formatted/audit.json")
    audit = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(audit | {"rendering": "other"}), encoding="utf-8")
    with pytest.raises(DataError, match=r"^data/formatted: was written for another tokenizer .* has; run `dvc repro`$"):
        run()


@pytest.mark.parametrize("missing", ["data/formatted/audit.json", "models/base.json", "data/formatted/train.jsonl"])
def test_data_that_are_not_there_yet_are_one_line(shown: Callable[..., Show], missing: str) -> None:
    run = shown(PLAIN)
    Path(missing).unlink()
    with pytest.raises(DataError, match=rf"^{missing}: no such file; run `dvc repro` first$"):
        run()


def test_missing_data_are_reported_without_torch(tmp_path: Path, python: Any) -> None:
    compose.compose(["experiment=smoke"], tmp_path / "params.yaml")
    program = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; from stages import cli; cli.main()"
    run = python(tmp_path, "-c", program, "show")
    assert (run.returncode, run.stderr) == (1, "error: models/base.json: no such file; run `dvc repro` first\n")


@pytest.mark.parametrize(("line", "refused"), [("test --id ex-1", "not allowed with argument"), ("other", "invalid choice")])
def test_command_line_is_checked(line: str, refused: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["show", *line.split()])
    assert refused in capsys.readouterr().err
