"""Published splits: a file or a split of the hub for each stays what it is."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages import records
from stages.errors import DataError
from stages.fetch import rows
from stages.params import compose
from stages.records import Task
from tests.fixtures.own_rows import ASKED, save, settings

NAMES = {"train": "train.csv", "valid": "dev.jsonl", "test": "test.json"}
HEADER = "input,output\n"


def folder(
    path: Path, train: str = HEADER + "a,1\nb,2\nb,2\n", valid: str = '{"input": "b", "output": "2"}', test: str = ""
) -> Path:
    for name, content in zip(NAMES.values(), (train, valid, test or '[{"input": "a", "output": "1"}]'), strict=True):
        save(path, name, content)
    return path


def read(path: Path, columns: Any = ASKED, splits: Mapping[str, str | None] = NAMES, **changes: Any) -> dict[str, list[str]]:
    found = rows.tasks(settings(path, columns, **{"splits": splits, "valid": 0.1, "test": 0.2} | changes), seed=1)
    return {split: [task.input for task in tasks] for split, tasks in found.items()}


@pytest.mark.parametrize("columns", [ASKED, "auto"], ids=["named", "auto"])
def test_rows_stay_in_their_published_split(tmp_path: Path, columns: Any) -> None:
    assert read(folder(tmp_path), columns) == {"train": ["a", "b"], "valid": ["b"], "test": ["a"]}


def test_split_that_is_not_published_is_made_of_train(tmp_path: Path) -> None:
    path = folder(tmp_path, train=HEADER + "".join(f"question {n},x\n" for n in range(200)))
    found = read(path, splits=NAMES | {"valid": None}, valid=0.3)
    assert found["test"] == ["a"] and 40 < len(found["valid"]) < 80 and len(found["train"]) == 200 - len(found["valid"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": "[]"}, r"data\.splits\.test = test\.json has no rows; name another, or null"),
        ({"train": HEADER}, r"train\.csv: no rows in it|data\.splits\.train = train\.csv has no rows"),
        ({"valid": '{"question": "b", "output": "2"}'}, r"dev\.jsonl:1: no question, 'input' empty"),
        ({"valid": '{"input": "b"}'}, r"dev\.jsonl:1: no column 'output'"),
        ({"test": '[{"input": 7, "output": "1"}]'}, r"test\.json: row 1: 'input' must be text, got a number"),
    ],
)
def test_published_split_that_cannot_be_read_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(folder(tmp_path, **changes))


def test_path_of_published_splits_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv: not a folder with train\.csv, dev\.jsonl, test\.json.*set data\.path"):
        read(folder(tmp_path) / "train.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": NAMES | {"test": "train.csv"}}, "each split needs its own rows"),
        ({"splits": NAMES | {"test": "../test.csv"}}, r"\.\./test\.csv: not in the folder path"),
        ({"splits": NAMES | {"test": "/etc/passwd"}}, "/etc/passwd: not in the folder path"),
        ({"splits": NAMES | {"validation": "v.csv"}}, "Extra inputs are not permitted"),
        ({"splits": NAMES, "hub": {"repo": "a/b", "revision": "main", "split": "train"}}, "set the other to null"),
        ({"splits": None, "hub": {"repo": "a/b", "revision": "main", "split": None}}, "set the other to null"),
        ({"splits": NAMES | {"valid": None}, "valid": 1.0}, "leave nothing to train on"),
    ],
)
def test_names_of_splits_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(Path("x"), ASKED, **changes)


def test_shares_of_published_splits_do_not_count() -> None:
    assert settings(Path("x"), ASKED, splits=NAMES, valid=0.9, test=0.9).shares == {"train": 1, "valid": 0, "test": 0}


LAMPS = "".join(f'train_{n},"#Person1#: Lamp {n}?\n#Person2#: On.",Lamp {n}.,lamps\n' for n in range(9))
DIALOGUES = {  # the columns of DialogSum; dialogues of its test split come three times, each with another summary
    "train.csv": "id,dialogue,summary,topic\n" + LAMPS,
    "validation.csv": 'id,dialogue,summary,topic\ndev_0,"#Person1#: Lamp 0?\n#Person2#: On.",Lit.,lamps\n',
    "test.csv": "id,dialogue,summary,topic\n" + "".join(f"test_0_{n},#Person1#: Off?,Summary {n}.,lamps\n" for n in range(3)),
    "README.md": "---\nlicense: mit\n---\n",
}


MIXED = ["data.sets.dialogsum.hub.repo=acme/talks", "data.sets.samsum.hub.repo=acme/talks"]
ALONE = ["data=dialogue_mixed", "data.hub.repo=acme/talks"]


@pytest.mark.model
@pytest.mark.parametrize(("chosen", "rows"), [(ALONE, (18, 1, 3)), (MIXED, (18, 2, 6))], ids=["two tasks", "mixture"])
def test_published_splits_of_the_hub_are_kept(
    hub_of: Callable[..., Any],
    reach: Callable[..., dict[str, str]],
    warm: Callable[..., Any],
    tmp_path: Path,
    chosen: list[str],
    rows: tuple[int, int, int],
) -> None:
    commit = "c" * 40
    url = hub_of("datasets", "acme/talks", {commit: {name: text.encode() for name, text in DIALOGUES.items()}}).url
    compose.compose(["experiment=dialogue", "model=random_t5", *chosen], tmp_path / "params.yaml")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/authored").symlink_to(compose.ROOT / "data/authored")
    run = warm(tmp_path, "-m", "stages.fetch", **reach(str(url), tmp_path))
    assert run.returncode == 0, run.stderr
    found = {split: list(records.read(tmp_path / f"data/raw/{split}.jsonl", Task)) for split in ("train", "valid", "test")}
    assert tuple(len(tasks) for tasks in found.values()) == rows
    for name in {task.dataset for task in found["test"]}:  # three summaries of a conversation, one source
        tasks = [task for task in found["test"] if task.dataset == name]
        assert [task.output for task in tasks] == ["Summary 0.", "Summary 1.", "Summary 2."]
        assert len({task.source for task in tasks}) == 1
    pinned = json.loads((tmp_path / "data/raw/hub.json").read_text())
    sets = [pinned] if chosen == ALONE else [pinned["dialogsum"], pinned["samsum"]]
    assert {each["revision"] for each in sets} == {commit}
    assert {task.dataset for task in found["train"]} == ({""} if chosen == ALONE else {"dialogsum", "samsum"})
