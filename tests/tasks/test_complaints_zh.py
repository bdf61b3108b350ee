"""The authored Chinese complaints: size, separate splits, every layout, and the prompt."""

import json
import re
from itertools import combinations, product
from pathlib import Path

import pytest

from stages import params
from stages.fetch import authored
from stages.fetch.splits import SPLITS
from stages.params import ComplaintsData, compose
from stages.records import Document, Task
from stages.synthesize import filters
from stages.tasks import complaints
from stages.tasks.complaints import PLACEHOLDER, SEGMENT
from stages.text import rouge

VALUES = {"name": "甲1", "address": "乙2", "email": "c3@example.com", "other_email": "d4@example.com", "question": "丙5。"}
OPTIONAL = ("name", "address", "email", "other_email")


@pytest.fixture(scope="module")
def data() -> ComplaintsData:
    found = params.check(compose.composed("experiment=complaints_zh")).data
    assert isinstance(found, ComplaintsData)
    return found.model_copy(update={"path": str(compose.ROOT / found.path)})


@pytest.fixture(scope="module")
def documents(data: ComplaintsData) -> dict[str, tuple[list[Document], list[Document]]]:
    return {split: authored.documents(Path(data.path), split) for split in SPLITS}


@pytest.fixture(scope="module")
def rows(data: ComplaintsData) -> dict[str, list[Task]]:
    return authored.complaints(data, seed=42)[1]


@pytest.mark.parametrize(("split", "bodies", "layouts"), [("train", 24, 10), ("valid", 8, 5), ("test", 12, 10)])
def test_each_split_has_bodies_and_layouts_of_its_own(documents, split: str, bodies: int, layouts: int) -> None:
    assert len({body.text for body in documents[split][0]}) >= bodies
    assert len({layout.text for layout in documents[split][1]}) >= layouts
    sources = [layout.source for found in documents.values() for layout in found[1]]
    assert len(sources) == len(set(sources))


def test_bodies_differ_and_hold_nothing_of_the_layout(documents) -> None:
    bodies = [body.text for split in SPLITS for body in documents[split][0]]
    words = [filters.tokens(body) for body in bodies]
    assert [pair for pair in combinations(words, 2) if rouge.rouge_l(*pair) >= 0.5] == []
    assert [body for body in bodies if re.search(r"@|[{}]|\[\[|\]\]|\|\|", body) or not filters.is_chinese(body)] == []


def test_every_layout_renders_whatever_is_missing(documents) -> None:
    for layout, present in product(
        [found for split in SPLITS for found in documents[split][1]], product((True, False), repeat=4)
    ):
        assert PLACEHOLDER.findall(SEGMENT.sub("", layout.text)) == ["question"], layout.source
        values = {**VALUES, **{key: VALUES[key] if there else None for key, there in zip(OPTIONAL, present, strict=True)}}
        text = complaints.fill(layout.text, values)
        assert re.findall(r"\[\[|\]\]|\|\||[{}]|\n{3}|None", text) == [], layout.source
        assert {key for key in VALUES if VALUES[key] in text} == {key for key in VALUES if values[key]}, layout.source


def test_rows_hold_the_values_to_extract(rows: dict[str, list[Task]]) -> None:
    for row in (row for split in SPLITS for row in rows[split]):
        assert row.system == (
            "将文本中的name、address、email、question提取出来，以json格式输出，字段为name、address、email、question，"
            "值为文本中提取出来的内容。"
        )
        assert row.output.startswith('{\n    "name": ')  # indented by 4
        values = [value for value in json.loads(row.output).values() if value is not None]
        assert [value for value in values if " ".join(value.split()) not in " ".join(row.input.split())] == []
    assert len({row.source for row in rows["test"]}) >= 10  # fewer layouts give useless intervals
