"""The reference of params.yaml: current, complete, and refused where a key has no comment."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from stages import params
from stages.commands import parameters
from stages.errors import DataError


@pytest.fixture(scope="module")
def rows() -> list[parameters.Parameter]:
    return parameters.described()


def fields(section: type[BaseModel]) -> set[tuple[type[BaseModel], str]]:
    """Every field of a schema class and of the classes below it."""
    inner = [
        part
        for field in section.model_fields.values()
        for member in parameters.models(field.annotation)
        for part in fields(member)
    ]
    return {(section, field.alias or name) for name, field in section.model_fields.items()} | set(inner)


def test_pages_are_current(rows: list[parameters.Parameter]) -> None:
    written = {path: path.read_text(encoding="utf-8") for path in parameters.FOLDER.glob("*.md")}
    assert parameters.pages(rows) == written, "run `tunetrail parameters`"


def test_every_key_of_the_schema_is_listed(rows: list[parameters.Parameter]) -> None:
    listed = {(row.section, row.key.rpartition(".")[2]) for row in rows}
    sections = {(params.Params, name) for name in params.Params.model_fields}  # those with keys of their own have a heading
    assert fields(params.Params) - listed <= sections
    shown = "".join(parameters.pages(rows).values())
    assert [row.key for row in rows if row.meaning and f"| `{row.key}` |" not in shown] == []


def test_every_section_has_a_page() -> None:
    names = [name for _, sections in parameters.PAGES.values() for name in sections]
    assert sorted(names) == sorted(field.alias or name for name, field in params.Params.model_fields.items())


def test_key_without_a_comment_is_named(rows: list[parameters.Parameter]) -> None:
    changed = [replace(row, meaning="") if row.key == "lora.r" else row for row in rows]
    with pytest.raises(DataError, match=r"^lora\.r: no comment in conf/ describes it"):
        parameters.pages(changed)


def test_stale_page_is_refused_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "FOLDER", parameters.compose.ROOT / "docs" / "elsewhere")
    with pytest.raises(DataError, match=r"^docs/elsewhere/run\.md: out of date; run `tunetrail parameters`"):
        parameters.write(check=True)
    assert not parameters.FOLDER.exists()


def test_rows_show_type_value_and_stages(rows: list[parameters.Parameter]) -> None:
    shown = {row.key: (row.type, row.default, row.stages) for row in rows if row.home == "conf/config.yaml"}
    assert shown["train.learning_rate"] == ("number (above 0, below 1)", "`0.0015`", "train, report")
    assert shown["format.overlap_ngram"] == ("integer (above 0) or null", "`10`", "feedback, format")
    assert shown["lora.target_modules"][0] == "`all-linear` or list of text"
    assert shown["runtime.device"] == ("`auto`, `cpu`, `cuda`", "`cpu`", "")
    assert "train" in shown["seeds"][2].split(", ")  # by its matrix, not by its params


def test_comments_stand_above_or_behind_a_key(tmp_path: Path) -> None:
    path = tmp_path / "option.yaml"
    path.write_text(
        "# An option. Second sentence.\n#   how to run it\n\n"
        "above: 1\n"
        "# Two lines\n# of text.\n"
        "outer:\n"
        "  inner: '#1'  # behind\n"
        "items:\n"
        "  - name: a    # in a list\n"
        "last: null\n",
        encoding="utf-8",
    )
    assert parameters.comments(path) == {
        "": "An option.",
        "outer": "Two lines of text.",
        "outer.inner": "behind",
        "items.name": "in a list",
    }
