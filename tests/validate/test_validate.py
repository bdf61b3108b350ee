"""The validate stage: an adapter or model to continue from is checked before anything runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages import params
from stages.errors import DataError
from stages.params import compose
from stages.validate.__main__ import (
    MOST,
    _lacking,
    _require_pairs,
    _require_reward_model,
    _require_sources,
    _require_start,
    _summarised,
)
from tests.fixtures.schema import ROWS, with_changes


def absent(changes: dict[str, Any]) -> list[str]:
    """Return the lines about missing sources of data."""
    try:
        _require_sources(params.check(with_changes(changes | {"synthesis.methods": ["none"]})))
    except DataError as error:
        return [line for line in str(error).splitlines() if line.startswith("data.")]
    return []


@pytest.mark.parametrize("key", ["preference.sheets", "preference.file", "align.reward_model", "feedback.path", "feedback.log"])
def test_missing_sources_of_pairs_and_rewards_are_named(key: str) -> None:
    checked, (section, name) = params.check(with_changes({})), key.split(".")
    values = {section: getattr(checked, section).model_copy(update={name: "adapters/x"})}
    with pytest.raises(DataError, match=rf"(?m)^{key}: adapters/x: no such file or folder; .*{key}"):
        _require_sources(checked.model_copy(update=values))


def test_folder_without_a_reward_model_is_refused(tmp_path: Path) -> None:
    align = compose.composed(
        "experiment=smoke", "align=grpo", "align.rewards.reward_model=1.0", f"align.reward_model={tmp_path}"
    )
    checked = params.check(align).align
    with pytest.raises(DataError, match=r"align.reward_model = .*: has no reward_model.json, .* align=reward"):
        _require_reward_model(checked)
    (tmp_path / "reward_model.json").touch()
    _require_reward_model(checked)


def test_row_that_is_no_pair_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "rejected": "b"}\n', encoding="utf-8")
    named = ["experiment=smoke", "preference=file", f"preference.file={path}", "align=dpo"]
    with pytest.raises(DataError, match=rf"{path}:1: no column chosen"):
        _require_pairs(params.check(compose.composed(*named)).preference)


def test_folder_without_sheets_is_refused(tmp_path: Path) -> None:
    named = ["experiment=smoke", "preference=people", f"preference.sheets={tmp_path}", "align=dpo"]
    with pytest.raises(DataError, match=r"contains no key \(\*\.key\.csv\); write sheets with `tunetrail rate export"):
        _require_pairs(params.check(compose.composed(*named)).preference)


def starting(folder: Path) -> params.Train:
    return params.check(with_changes({"train.start_from": str(folder)})).train


def test_adapter_of_loftq_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"peft_type": "LORA", "r": 8, "loftq_config": {}}), encoding="utf-8")
    _require_start(starting(tmp_path), whole=False)
    config.write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "loftq_config": {"type": "nf4", "double_quant": True}}), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"train\.start_from = .* was trained with lora\.init=loftq"):
        _require_start(starting(tmp_path), whole=False)


def test_training_does_not_start_from_a_reward_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}), encoding="utf-8")
    (tmp_path / "reward_model.json").touch()
    with pytest.raises(
        DataError, match=r"train\.start_from = .*: is a reward model, which writes no text; name another adapter"
    ):
        _require_start(starting(tmp_path), whole=False)


def test_nothing_to_start_from_holds_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    none = params.check(with_changes({})).train
    _require_start(none, whole=False)
    (tmp_path / "adapters/none").mkdir(parents=True)
    (tmp_path / "adapters/none/config.json").touch()
    with pytest.raises(DataError, match=r"^adapters/none: holds a model, but .* give it another name$"):
        _require_start(none, whole=False)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]"])
def test_damaged_adapter_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"its adapter_config\.json is damaged"):
        _require_start(starting(tmp_path), whole=False)


def test_unloadable_whole_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"^train\.start_from = .*: cannot be loaded as a whole model: "):
        _require_start(starting(tmp_path), whole=True)


@pytest.mark.parametrize(("there", "whole"), [("adapter_config.json", True), ("config.json", False)])
def test_whole_model_and_adapter_are_not_interchangeable(there: str, whole: bool, tmp_path: Path):
    (tmp_path / there).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.start_from = .*: has no (adapter_)?config\.json, so it is not"):
        _require_start(starting(tmp_path), whole=whole)


def test_truncated_weights_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(DataError, match=r"adapter_model\.safetensors: damaged"):
        _require_start(starting(tmp_path), whole=False)


SPLITS = {"train": "train.csv", "valid": None, "test": "test.csv"}
HUB = {"repo": "a/b", "revision": "main", "split": "train"}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ["data.path: mine"]),
        ({"path": "there"}, []),
        ({"path": "there", "splits": SPLITS}, ["data.splits.test: there/test.csv"]),
    ],
)
def test_sources_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], missing: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/train.csv").touch()
    lines = [f"{each}: no such file or folder; set {each.partition(':')[0]}" for each in missing]
    assert absent({"data": ROWS | {"path": "mine"} | changes}) == lines


def test_missing_files_of_a_mixture_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    sets = {"one": ROWS | {"path": "own/one.csv"}, "two": ROWS | {"path": "own/two.csv", "hub": HUB}}
    mix = {"kind": "mix", "path": "own", "system": "", "sets": sets, "mix": {"rows": None, "weights": None, "protect": None}}
    assert absent({"data": mix}) == ["data.sets.one.path: own/one.csv: no such file or folder; set data.sets.one.path"]


def test_many_differences_from_conf_are_one_line() -> None:
    few = [f"params.yaml: data.key{number} = 1" for number in range(MOST)]
    assert _summarised(few) == few
    (line,) = _summarised([*few, "params.yaml: name = mine"])
    assert "differs in 6 keys" in line and "`tunetrail compose --check`" in line


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes these files in a clone, and some of them where DVC runs a queued experiment of it."""
    clone, copy = tmp_path / "clone", tmp_path / "clone/.dvc/tmp/exps/standalone/tmp1"

    def make(names: str, tracked: str = "") -> None:
        for root, listed in ((clone, names), (copy, tracked)):
            root.mkdir(parents=True, exist_ok=True)
            for name in listed.split():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
        monkeypatch.chdir(copy)
        monkeypatch.setenv("DVC_ROOT", str(clone))

    return make


NOT_IN_GIT = "not in git, and with --queue or --temp DVC sees only what is; run"
LACKING = [
    ("a file", "data/my.csv", "data/my.csv", "", f"data/my.csv: is {NOT_IN_GIT} `git add data/my.csv`"),
    ("a file of a folder", "docs", "docs/a.md docs/b.md", "docs/a.md", f"docs/b.md: is {NOT_IN_GIT} `git add docs/b.md`"),
    ("several", "docs", "docs/a.md docs/b/c.md", "", f"docs/a.md: and 1 more are {NOT_IN_GIT} `git add docs/a.md`"),
    ("of DVC", "my.csv", "my.csv my.csv.dvc", "", f"my.csv: is {NOT_IN_GIT} `dvc add my.csv`, then `git add my.csv.dvc`"),
    ("a folder of DVC", "own", "own/a.md own.dvc", "", f"own/a.md: is {NOT_IN_GIT} `dvc add own`, then `git add own.dvc`"),
    (
        "not added yet",
        "data/own/my.csv",
        "data/own/my.csv",
        "",
        f"data/own/my.csv: is {NOT_IN_GIT} `dvc add data/own/my.csv`, then `git add data/own/my.csv.dvc`",
    ),
    (
        "in the remote",
        "x",
        "x.dvc",
        "x.dvc",
        "x: no such file or folder; get it from the remote with `dvc pull x.dvc` or set data.path",
    ),
    ("nowhere", "my.csv", "", "", "my.csv: no such file or folder; set data.path"),
    ("all there", "docs", "docs/a.md docs/.DS_Store docs/.cache/x", "docs/a.md", ""),
]


@pytest.mark.parametrize(("path", "names", "tracked", "line"), [c[1:] for c in LACKING], ids=[c[0] for c in LACKING])
def test_queued_experiment_names_what_git_lacks(queued: Any, path: str, names: str, tracked: str, line: str) -> None:
    queued(names, tracked)
    assert _lacking("data.path", Path(path)) == line


def test_absolute_path_is_the_same_file_in_a_queued_experiment(queued: Any, tmp_path: Path) -> None:
    queued("my.csv")
    assert _lacking("data.path", tmp_path / "clone/my.csv") == ""
