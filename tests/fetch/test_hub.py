"""Data sets of the hub, served by a stand-in: read at a pinned commit, one error line if out of reach."""

import json
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages import records
from stages.errors import DataError
from stages.fetch import hub
from stages.params import HubRows, compose
from stages.records import Task

Run = subprocess.CompletedProcess[str]
COMMIT = "a" * 40
ROWS = [{"question": f"Question {n}?", "options": {"A": "x", "B": "y"}, "answer_idx": "B"} for n in range(40)]
ROWS += [{"question": "With a third option?", "options": {"A": "x", "B": "y", "C": "z"}, "answer_idx": "C"}]
FILES = {
    "README.md": b"---\nlicense: mit\n---\n",
    "train.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "test.jsonl": json.dumps(ROWS[0]).encode() + b"\n",
    "loading.py": b"raise SystemExit('ran remote code')",
}


@pytest.fixture
def endpoint(hub_of: Callable[..., Any]) -> str:
    """Serve a hub with one data set, acme/questions, whose branch main is COMMIT."""
    return str(hub_of("datasets", "acme/questions", {COMMIT: FILES}).url)


@pytest.fixture
def fetched(reach: Callable[..., dict[str, str]], warm: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """Run fetch of the medqa experiment in an empty folder, with a tiny model and a hub at the address."""

    def run(endpoint: str, *overrides: str) -> Run:
        asked = ["experiment=medqa", "model=random", "data.hub.repo=acme/questions", *overrides]
        compose.compose(asked, tmp_path / "params.yaml")
        (tmp_path / "data").mkdir()
        (tmp_path / "data/authored").symlink_to(compose.ROOT / "data/authored")
        return warm(tmp_path, "-m", "stages.fetch", **reach(endpoint, tmp_path))

    return run


def the_line(run: Run) -> str:
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    return line


@pytest.mark.model
def test_split_is_read_at_a_commit_without_downloading_code(endpoint: str, fetched: Callable[..., Run], tmp_path: Path) -> None:
    run = fetched(endpoint, "data.valid=0.2", "data.test=0.2")
    assert run.returncode == 0, run.stderr
    pinned = json.loads((tmp_path / "data/raw/hub.json").read_text(encoding="utf-8"))
    assert pinned == {"repo": "acme/questions", "revision": COMMIT, "config": None, "split": "train"}
    tasks = [task for split in ("train", "valid", "test") for task in records.read(tmp_path / f"data/raw/{split}.jsonl", Task)]
    assert len({task.source for task in tasks}) == len(ROWS)
    assert [task for task in tasks if len(task.choices) == 3] == [task for task in tasks if "third" in task.input]
    assert list((tmp_path / "home").rglob("train.jsonl"))
    assert list((tmp_path / "home").rglob("*.py")) == []


def test_missing_split_ends_with_one_line(endpoint: str, fetched: Callable[..., Run]) -> None:
    line = the_line(fetched(endpoint, "data.hub.split=validation"))
    assert line.endswith("data.hub.split = validation: acme/questions has the splits train, test; set one")


def test_missing_repository_ends_with_one_line(endpoint: str, fetched: Callable[..., Run]) -> None:
    line = the_line(fetched(endpoint, "data.hub.repo=acme/other"))
    assert "data.hub.repo = acme/other at main: cannot be fetched" in line


@pytest.mark.parametrize(
    ("name", "offline"), [("medqa", "medqa_offline"), ("dialogue_mixed", "dialogue_offline"), ("mine", "complaints")]
)
def test_unreachable_hub_names_an_offline_experiment(
    fetched: Callable[..., Run], tmp_path: Path, name: str, offline: str
) -> None:
    (tmp_path / "conf").symlink_to(compose.ROOT / "conf")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses connections and keeps the port
        line = the_line(fetched(f"http://127.0.0.1:{taken.getsockname()[1]}", f"name={name}"))
    assert "data.hub.repo = acme/questions at main: cannot be fetched" in line
    assert line.endswith(f"; experiment={offline} needs no hub")


def row_of(text: str) -> dict[str, str]:
    return {"question": text, "answer": "yes"}


def table_of(folder: Path, card: str = "", name: str = "train.jsonl", begin: str = "---\n", **changes: str) -> list[Any]:
    """Return the rows of a snapshot in the layout of the hub's cache, with a card."""
    snapshot = folder / "hub/datasets--acme--q/snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    if not (snapshot / name).exists() and not (snapshot / name).is_symlink():
        (snapshot / name).write_text(json.dumps(row_of("inside")) + "\n")
    if card:
        (snapshot / "README.md").write_text(f"{begin}{card}---\n# Questions\n", encoding="utf-8", newline="")
    wanted = HubRows.model_validate({"repo": "acme/q", "revision": "main", "split": "train"} | changes)
    return [row for _, row in hub.rows(wanted, snapshot, "train")]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.jsonl"
    path.write_text(json.dumps(row_of("secret")) + "\n")
    return path


@pytest.mark.parametrize(
    "named",
    [
        "{secret}",
        "../../../../secret.jsonl",
        "data/../../../../../secret.jsonl",
        "file://{secret}",
        "http://127.0.0.1:9/secret.jsonl",
        "hf://datasets/acme/other/train.jsonl",
        "zip://train.jsonl::train.zip",
        "~/secret.jsonl",
        "..\\\\secret.jsonl",
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        'configs:\n- config_name: default\n  data_files: "{path}"\n',
        'configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: ["train.jsonl", "{path}"]\n',
        'configs:\n- config_name: default\n  data_dir: "{path}"\n',
    ],
)
def test_card_that_names_a_file_outside_is_refused(secret: Path, tmp_path: Path, named: str, form: str) -> None:
    with pytest.raises(DataError, match=r"^acme/q: README\.md names the file '.*'; only files of the data set are read"):
        table_of(tmp_path, form.format(path=named.format(secret=secret)))


BEGINNINGS = [" ---\n", "\n\n ---\n", "\x0b---\n", "\u3000---\n", "\ufeff---\n", "\ufeff \t---\r\n", "---\r", "\x1c\x85---\n"]


@pytest.mark.parametrize("begin", BEGINNINGS)
@pytest.mark.parametrize("place", ["the hub", "a folder"])
def test_card_is_found_where_datasets_finds_it(
    hub_of: Callable[..., Any], secret: Path, tmp_path: Path, begin: str, place: str
) -> None:
    asked = hub_of("datasets", "acme/questions", {COMMIT: FILES})
    path = f"{asked.url}/secret.jsonl" if place == "the hub" else secret
    with pytest.raises(DataError, match=r"README\.md names the file"):
        table_of(tmp_path, f'configs:\n- config_name: default\n  data_files: "{path}"\n', begin=begin)
    assert asked.asked == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", "---\nconfigs: [5]\n---\n"),
        ("README.md", "---\nconfigs: 5\n---\n"),
        ("README.md", "---\nconfigs: [{config_name: [1], data_files: 5}]\n---\n"),
        ("README.md", "---\ndataset_info: {features: 7}\n---\n"),
        ("README.md", "---\ndataset_info: {features: [{name: question, dtype: os.system}]}\n---\n"),
        ("README.md", "---\n[1]\n---\n"),
        ("dataset_infos.json", "[1]"),
        ("dataset_infos.json", '{"default": 5}'),
        ("train.jsonl", '{"q": ' + "[" * 3000 + "]" * 3000 + "}\n"),
        ("train.jsonl", '{"q": 1e999}\n'),
        ("train.jsonl", "[" * 100_000),
        ("train.jsonl", "5\n"),
    ],
)
def test_damaged_data_set_is_refused_with_one_line(tmp_path: Path, name: str, content: str) -> None:
    snapshot = tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "train.jsonl").write_text(json.dumps(row_of("inside")) + "\n")
    (snapshot / name).write_text(content)
    with pytest.raises(DataError, match=r"^data\.hub\.repo = acme/q: cannot be read as a table \([^\n]*\); name another"):
        list(hub.rows(HubRows(repo="acme/q", revision="main", split="train"), snapshot, "train"))


@pytest.mark.parametrize(
    "option",
    ['sep: "(a+)+$|,"', 'delimiter: ", "', "engine: python", "sep: null", "converters: {a: b}", "compression: {method: zip}"],
)
def test_option_of_a_reader_in_a_card_is_refused(tmp_path: Path, option: str) -> None:
    key = option.split(":")[0]
    with pytest.raises(
        DataError, match=rf"^acme/q: README\.md sets '{key}' for the reader of its files, which is not followed"
    ):
        table_of(tmp_path, f"configs:\n- config_name: default\n  data_files: train.jsonl\n  {option}\n")


def test_sign_of_csv_in_a_card_is_followed(tmp_path: Path) -> None:
    (tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT).mkdir(parents=True)
    (tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT / "train.csv").write_text("question;answer\ninside;yes\n")
    card = 'configs:\n- config_name: default\n  data_files: train.csv\n  sep: ";"\n'
    assert table_of(tmp_path, card, "train.csv") == [row_of("inside")]


def test_card_that_names_its_own_files_is_read(tmp_path: Path) -> None:
    card = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.jsonl\n"
    (tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT / "data").mkdir(parents=True)
    assert table_of(tmp_path, card, "data/train.jsonl") == [row_of("inside")]


@pytest.mark.parametrize(
    "named", ["[.][.]/[.][.]/[.][.]/[.][.]/*.jsonl", "%2e%2e/%2e%2e/secret.jsonl", "{.,}{.,}/*.jsonl", "??/*"]
)
def test_pattern_in_a_card_finds_no_file_outside(secret: Path, tmp_path: Path, named: str) -> None:
    with pytest.raises(DataError, match="acme/q: cannot be read as a table"):
        table_of(tmp_path, f'configs:\n- config_name: default\n  data_files: "{named}"\n')


@pytest.mark.parametrize("kind", ["link", "hard link", "zip"])
def test_link_in_an_archive_named_like_a_table_is_not_read(secret: Path, tmp_path: Path, kind: str) -> None:
    """datasets unpacks archives, which it recognizes by their first bytes."""
    snapshot = tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    if kind == "zip":
        member = zipfile.ZipInfo("train.jsonl")
        member.create_system, member.external_attr = 3, 0o120777 << 16  # a link, as zip on Unix stores it
        with zipfile.ZipFile(snapshot / "train.jsonl", "w") as packed:
            packed.writestr(member, str(secret))
    else:
        link = tarfile.TarInfo("train.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE, str(secret)
        with tarfile.open(snapshot / "train.jsonl", "w") as archive:
            archive.addfile(link)
    with pytest.raises(DataError, match="acme/q: cannot be read as a table"):
        table_of(tmp_path, name="train.jsonl")


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_link_out_of_a_data_set_is_refused(secret: Path, tmp_path: Path, linked: str) -> None:
    snapshot = tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    if linked == "file":
        (snapshot / "train.jsonl").symlink_to(secret)
    else:
        (tmp_path / "elsewhere").mkdir()
        secret.rename(tmp_path / "elsewhere/train.jsonl")
        (snapshot / "data").symlink_to(tmp_path / "elsewhere")
    name = "train.jsonl" if linked == "file" else "data/train.jsonl"
    with pytest.raises(DataError, match=r"train\.jsonl is a link out of the data set"):
        table_of(
            tmp_path, f"configs:\n- config_name: default\n  data_files: {name}\n", "train.jsonl" if linked == "file" else "x"
        )


def test_link_to_a_blob_of_the_cache_is_read(tmp_path: Path) -> None:
    snapshot, blobs = (tmp_path / "hub/datasets--acme--q" / name for name in (f"snapshots/{COMMIT}", "blobs"))
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text(json.dumps(row_of("inside")) + "\n")
    (snapshot / "train.jsonl").symlink_to("../../blobs/abc")
    assert table_of(tmp_path) == [row_of("inside")]


def test_column_of_images_is_refused(secret: Path, tmp_path: Path) -> None:
    card = "dataset_info:\n  features:\n  - name: question\n    dtype: image\n  - name: answer\n    dtype: string\n"
    with pytest.raises(DataError, match="column 'question' holds files such as images"):
        table_of(tmp_path, card)


CONFIGS = """\
configs:
- {config_name: easy, data_files: easy.jsonl%s}
- {config_name: 20231101.simple, data_files: hard.jsonl}
"""


def configured(folder: Path, default: str = "", **changes: str) -> list[Any]:
    """Return the rows of a data set with two configurations; the question of each names it."""
    snapshot = folder / "hub/datasets--acme--q/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "hard.jsonl").write_text(json.dumps(row_of("hard")) + "\n")
    (snapshot / "easy.jsonl").write_text(json.dumps(row_of("easy")) + "\n")
    return table_of(folder, CONFIGS % default, "easy.jsonl", **changes)


@pytest.mark.parametrize(("config", "question"), [("easy", "easy"), ("20231101.simple", "hard")])
def test_configuration_is_read_by_name(tmp_path: Path, config: str, question: str) -> None:
    assert configured(tmp_path, config=config) == [row_of(question)]


def test_configuration_that_the_card_calls_default_is_read(tmp_path: Path) -> None:
    assert configured(tmp_path, ", default: true") == [row_of("easy")]


@pytest.mark.parametrize("changes", [{}, {"config": "hard"}])
def test_refused_configuration_lists_those_there_are(tmp_path: Path, changes: dict[str, str]) -> None:
    chosen = changes.get("config", "null")
    listed = rf"^data\.hub\.config = {chosen}: acme/q has the configurations easy, 20231101\.simple; set one$"
    with pytest.raises(DataError, match=listed):
        configured(tmp_path, **changes)


def test_configuration_of_a_data_set_without_any_is_refused(tmp_path: Path) -> None:
    assert table_of(tmp_path, config="default") == [row_of("inside")]
    with pytest.raises(DataError, match=r"^data\.hub\.config = en: acme/q has the configurations default; set one$"):
        table_of(tmp_path, config="en")


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        (["negative", "positive"], [0, 1, 0], ["negative", "positive", "negative"]),
        (["negative", "positive"], [1, -1, None], ["positive", None, None]),
        (["A", "B", "C", "D"], [3], ["D"]),
        (["0", "1"], [1], [1]),
        (["1", "2", "3"], [0], [0]),
    ],
    ids=["names", "rows without a label", "letters of options", "own numbers", "other numbers"],
)
def test_label_of_a_parquet_table_has_its_name(
    tmp_path: Path, names: list[str], values: list[int | None], expected: list[Any]
) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    columns = {"text": [str(number) for number in range(len(values))], "label": values}
    snapshot = tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    Dataset.from_dict(columns, features=features).to_parquet(snapshot / "train.parquet")
    assert [row["label"] for row in table_of(tmp_path, name="train.parquet")] == expected


def test_label_has_the_name_in_the_card(tmp_path: Path) -> None:
    (tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT).mkdir(parents=True)
    (tmp_path / "hub/datasets--acme--q/snapshots" / COMMIT / "train.csv").write_text("text,label\na,1\n")
    card = """\
dataset_info:
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': ham, '1': spam}}}}
"""
    assert table_of(tmp_path, card, "train.csv") == [{"text": "a", "label": "spam"}]
