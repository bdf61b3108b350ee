"""What counts as right: extraction by field, text by words; an answer of any shape gets a score, never a traceback."""

import json
from typing import Any

import pytest

from stages.evaluate import metrics
from stages.records import Example, Message, Prediction

GOLD: dict[str, Any] = {"name": "Ann Lee", "email": None}
REFERENCE = json.dumps(GOLD)


def scores(answer: str, gold: dict[str, Any] = GOLD) -> tuple[float, float, float]:
    found = metrics.extraction(answer, json.dumps(gold, ensure_ascii=False))
    return found["json_valid"], found["field_exact"], found["record_exact"]


@pytest.mark.parametrize(
    ("answer", "valid", "fields", "record"),
    [
        ('{"name": "Ann Lee", "email": null}', 1, 1.0, 1),
        ('{"email": null, "name": "Ann Lee"}', 1, 1.0, 1),
        (' \n{"name":"Ann Lee","email":null}\n', 1, 1.0, 1),
        ('{"name": "\\u0041nn Lee", "email": null}', 1, 1.0, 1),
        ('{"name": "Ann Lee", "email": "null"}', 1, 0.5, 0),
        ('{"name": "Ann Lee", "email": ""}', 1, 0.5, 0),
        ('{"name": "Ann Lee"}', 1, 0.5, 0),
        ('{"name": null, "email": null}', 1, 0.5, 0),
        ('{"name": "ann lee", "email": null}', 1, 0.5, 0),
        ('{"name": "Ann  Lee", "email": null}', 1, 0.5, 0),
        ('{"name": ["Ann Lee"], "email": null}', 1, 0.5, 0),
        ('{"name": "Ann Lee", "email": null, "more": 1}', 1, 1.0, 0),
        ('{"Name": "Ann Lee", "Email": null}', 1, 0.0, 0),
        ("{}", 1, 0.0, 0),
        ('[{"name": "Ann Lee", "email": null}]', 0, 0.0, 0),
        ('{"name": "Ann Lee", "email": null}{"name": "Ann Lee", "email": null}', 0, 0.0, 0),
        ('{"name": "Ann Lee", "email": null} That is all.', 0, 0.0, 0),
        ('Here: {"name": "Ann Lee", "email": null}', 0, 0.0, 0),
        ('```json\n{"name": "Ann Lee", "email": null}\n```', 0, 0.0, 0),
        ("{'name': 'Ann Lee', 'email': None}", 0, 0.0, 0),
        ('{"name": "Ann Lee", "email": null,}', 0, 0.0, 0),
        ('{"name": "Ann Lee", "email": nul', 0, 0.0, 0),
        ('{"name": "Ann Lee", "email": NaN}', 0, 0.0, 0),
        ('{"name": "Ann Lee", "email": -Infinity}', 0, 0.0, 0),
        ('{"name": "Ann\nLee", "email": null}', 0, 0.0, 0),
        ("null", 0, 0.0, 0),
        ('"Ann Lee"', 0, 0.0, 0),
        ("", 0, 0.0, 0),
    ],
)
def test_extraction_scores_an_answer_by_its_fields(answer: str, valid: int, fields: float, record: int) -> None:
    assert scores(answer) == (valid, fields, record)


def test_each_field_has_a_score_of_its_own() -> None:
    found = metrics.extraction('{"name": "Ann Lee", "email": "x"}', REFERENCE)
    assert {key: found[key] for key in ("name_exact", "email_exact")} == {"name_exact": 1.0, "email_exact": 0.0}


@pytest.mark.parametrize(
    ("gold", "given", "equal"),
    [
        (1, "true", False),
        (0, "false", False),
        (True, "1", False),
        (1, "1", True),
        (1, '"1"', False),
        (None, '"null"', False),
        (None, "null", True),
        (False, "null", False),
        ({"a": 1, "b": [True]}, '{"b": [true], "a": 1}', True),
        ({"a": 1, "b": [True]}, '{"b": [1], "a": 1}', False),
        ([1, 2], "[2, 1]", False),
        ("你好，世界", '"你好，世界"', True),
        ("你好，世界", '"你好,世界"', False),
        ("你好", '"\\u4f60\\u597d"', True),
    ],
)
def test_values_are_equal_as_json(gold: Any, given: str, equal: bool) -> None:
    assert scores(f'{{"x": {given}}}', {"x": gold}) == (1, float(equal), float(equal))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"name":', "}")])
@pytest.mark.parametrize("closed", [True, False])
def test_nested_answers_of_any_depth_are_scored(opening: str, closing: str, closed: bool) -> None:
    for depth in [*range(300, 1100, 7), 100_000]:
        bomb = f'{{"name": {opening * depth}1{closing * depth if closed else ""}}}'
        valid, fields, record = scores(bomb)
        assert (fields, record) == (0.0, 0.0)
        assert valid == 0.0 or closed


@pytest.mark.parametrize("answer", ['{"name": ' + "9" * 5000 + "}", '{"name": 1e999}', '{"name": "\\ud83d"}', "\x00", "\ud83d"])
def test_strange_answers_are_scored_too(answer: str) -> None:
    assert scores(answer)[1:] == (0.0, 0.0)


@pytest.mark.parametrize(("answer", "right"), [("{}", 1.0), ('{"x": 1}', 0.0), ("nothing", 0.0)])
def test_a_reference_without_fields_asks_for_an_empty_object(answer: str, right: float) -> None:
    assert scores(answer, {})[2] == right


@pytest.mark.parametrize("field", ["record", "field"])
def test_a_field_named_like_a_metric_does_not_replace_it(field: str) -> None:
    gold = {field: "a", "other": "b"}
    assert scores(f'{{"{field}": "a", "other": "wrong"}}', gold) == (1, 0.5, 0)
    assert scores(f'{{"{field}": "wrong", "other": "b"}}', gold) == (1, 0.5, 0)


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("The parcel is late.", "the PARCEL is late", 1, 1.0),
        ("the parcel", "the parcel is late", 0, 2 * 2 / 6),
        ("late late late", "late", 0, 2 * 1 / 4),
        ("late is the parcel", "the parcel is late", 0, 1.0),
        ("something else", "the parcel is late", 0, 0.0),
        ("", "the parcel is late", 0, 0.0),
        ("the parcel is late", "", 0, 0.0),
        ("", "", 1, 1.0),
        ("耳机没有收到。", "耳机没有收到", 1, 1.0),
        ("耳机收到", "耳机没有收到", 0, 2 * 4 / 10),
        ("Größe XL", "größe xl", 1, 1.0),
        ("yes", "no", 0, 0.0),
        ("+", "-", 0, 0.0),
        ("👍", "👎", 0, 0.0),
    ],
)
def test_text_is_scored_by_its_words(answer: str, reference: str, exact: int, f1: float) -> None:
    found = metrics.text(answer, reference)
    assert found["exact_match"] == exact
    assert found["token_f1"] == pytest.approx(f1)


@pytest.mark.parametrize(
    ("kind", "reference", "names"),
    [
        ("extraction", REFERENCE, {"json_valid", "field_exact", "record_exact", "name_exact", "email_exact", "stop_rate"}),
        ("text", "Late.", {"exact_match", "token_f1", "stop_rate"}),
    ],
)
@pytest.mark.parametrize("stopped", [True, False])
def test_the_kind_of_task_decides_the_metrics_and_each_lies_between_0_and_1(
    kind: Any, reference: str, names: set[str], stopped: bool
) -> None:
    messages = (Message(role="user", content="?"), Message(role="assistant", content=reference))
    example = Example(kind=kind, messages=messages, source="s")
    for text in (reference, "", "late {", REFERENCE):
        given = Prediction(example=example.id, system="s", text=text, stopped=stopped, prompt_tokens=1, new_tokens=1)
        found = metrics.score(example, given)
        assert found.keys() == names
        assert all(0 <= value <= 1 for value in found.values())
        assert found["stop_rate"] == float(stopped)


@pytest.mark.parametrize(
    ("answer", "value"), [('{"a": 1}', {"a": 1}), ("[1]", None), ("x", None), ("", None), ('{"a": 1', None), ("{}", {})]
)
def test_parsed_gives_the_object_or_none(answer: str, value: dict[str, Any] | None) -> None:
    assert metrics.parsed(answer) == value
