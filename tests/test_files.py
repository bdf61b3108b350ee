"""YAML and JSON that nobody writes by hand end in one line, in short time and with little memory."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from stages import files, params
from stages.errors import DataError
from stages.terminal import CONTROL

ALIASES = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n  k{n}: 1\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ALIASES, "its aliases make more than 100,000 values"),
        (MERGES, "its aliases make more than 100,000 values"),
        ("a: &a [*a]", "nested too deeply, or an alias holds itself"),
        ("a: &a {b: *a}", "nested too deeply, or an alias holds itself"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: " + "{b: " * 1000 + "1" + "}" * 1000, "nested too deeply"),
        ("".join(" " * n + f"k{n}:\n" for n in range(600)), "more than the 100,000 that are read"),
        ("a: " + "1" * 5000, "holds a value that cannot be read"),
        ("a: 2024-02-31", "holds a value that cannot be read"),
        ("a: !!int x", "holds a value that cannot be read"),
    ],
    ids=["aliases", "merges", "own list", "own mapping", "lists", "mappings", "levels", "digits", "date", "tag"],
)
def test_hostile_yaml_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path, started = tmp_path / "params.yaml", time.process_time()
    path.write_text(content)
    with pytest.raises(DataError, match=message) as refusal:
        params.load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
    assert time.process_time() - started < 5


def test_aliases_that_repeat_a_few_values_are_read() -> None:
    text = "a: &a {b: 1, c: [1, 2]}\nd: *a\ne: {<<: *a, b: 2}\n"
    assert files.read_yaml(text, "x") == {"a": {"b": 1, "c": [1, 2]}, "d": {"b": 1, "c": [1, 2]}, "e": {"b": 2, "c": [1, 2]}}
    assert files.read_yaml("", "x") is None


def test_anchor_used_again_is_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert files.read_yaml("a: &x 1\nb: &x 2\nc: *x\n", "x")["c"] == 2 and not recwarn.list


@pytest.mark.parametrize("content", ["[" * 3000 + "]" * 3000, "1" * 5000, '{"a": ' * 3000], ids=["lists", "digits", "objects"])
def test_hostile_json_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.json") as refusal:
        files.read_json(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("made", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path, made: Any) -> None:
    made(tmp_path / "a.json")
    for use in (lambda path: list(files.lines(path)), files.read_json, lambda path: files.write_json(path, {})):
        with pytest.raises(DataError, match=r"a\.json: not a regular file"):
            use(tmp_path / "a.json")
    assert not (tmp_path / "a.json").is_file()


def test_devices_are_not_read() -> None:
    with pytest.raises(DataError, match=r"^/dev/zero: not a regular file"):
        list(files.lines(Path("/dev/zero")))


def test_json_has_no_effect_on_a_terminal(tmp_path: Path) -> None:
    value = {"\u009b2J": ["\u202ea\x7f", "\udcff"]}
    files.write_json(tmp_path / "a.json", value)
    assert not CONTROL.search((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert files.read_json(tmp_path / "a.json") == value
