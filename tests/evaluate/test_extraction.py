"""What counts as right in extraction, by field; an answer of any shape gets a score, never a traceback."""

import json
from typing import Any

import pytest

from stages.evaluate import extraction
from stages.records import Example, Message, Prediction
from stages.text import objects

GOLD: dict[str, Any] = {"name": "Ann Lee", "email": None}


def item(answer: str, gold: dict[str, Any]) -> tuple[Example, Prediction]:
    messages = (Message(role="assistant", content=json.dumps(gold, ensure_ascii=False)),)
    example = Example(kind="extraction", messages=messages, source="s")
    return example, Prediction(example=example.id, system="s", text=answer, stopped=True, prompt_tokens=1, new_tokens=1)


def scores(answer: str, gold: dict[str, Any] = GOLD) -> tuple[float, float, float]:
    found, _ = extraction.score(*item(answer, gold))
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


@pytest.mark.parametrize(
    ("answer", "found", "fields"),
    [
        ('{"name": "Ann Lee", "email": null}', 1, 1.0),
        ('Here {is} the object:\n```json\n{"name": "Ann Lee", "email": null}\n``` I hope this helps {1}', 1, 1.0),
        ('{"name": "Ann Lee", "email": null}{"name": "Bo", "email": "b@c.d"}', 1, 1.0),
        ('{"name": "Bo", "email": null} or {"name": "Ann Lee", "email": null}', 1, 0.5),
        ('[{"name": "Ann Lee", "email": null}]', 1, 1.0),
        ('{"name": "Ann Lee", "email": nul', 0, 0.0),
        ("{" * 10_000, 0, 0.0),
        ("{1}" * objects.TRIES + '{"name": "Ann Lee", "email": null}', 0, 0.0),
        ("Ann Lee, no e-mail address", 0, 0.0),
    ],
)
def test_lenient_reading_takes_the_first_object_of_a_text(answer: str, found: int, fields: float) -> None:
    given, _ = extraction.score(*item(answer, GOLD))
    assert (given["json_found"], given["field_exact_lenient"]) == (found, fields)


def test_each_field_has_a_score_of_its_own() -> None:
    found, _ = extraction.score(*item('{"name": "Ann Lee", "email": "x"}', GOLD))
    assert {key: found[key] for key in ("name_exact", "email_exact")} == {"name_exact": 1.0, "email_exact": 0.0}


@pytest.mark.parametrize(
    ("gold", "given", "equal"),
    [
        (1, "true", False),
        (0, "false", False),
        (True, "1", False),
        (1, "1", True),
        (1, '"1"', False),
        (1, "1.0", True),
        (1.0, "1", True),
        (1200, "1.2e3", True),
        (1, "1.5", False),
        (True, "1.0", False),
        (None, '"null"', False),
        (None, "null", True),
        (False, "null", False),
        ({"a": 1, "b": [True]}, '{"b": [true], "a": 1}', True),
        ({"a": 1, "b": [True]}, '{"b": [1], "a": 1}', False),
        ([1, 2], "[2, 1]", True),
        ([1, 2], "[2, 1, 2]", True),
        ([1, 2], "[1]", False),
        ([1, 2], "[1, 2, 3]", False),
        ([1], "[true]", False),
        ([1], "1", False),
        ([], "null", False),
        ([{"a": 1}, {"b": 2}], '[{"b": 2}, {"a": 1}]', True),
        ([["a", "b"]], '[["b", "a", "b"]]', True),
        ([["a"], ["b"]], '[["a", "b"]]', False),
        ({"a": [1, 2]}, '{"a": [2, 1]}', True),
        ([{"a": [1, 2]}], '[{"a": [2, 1]}, {"a": [1, 2]}]', True),
        ({"a": [1]}, '{"a": [true]}', False),
        ("你好，世界", '"你好，世界"', True),
        ("你好，世界", '"你好,世界"', False),
        ("你好", '"\\u4f60\\u597d"', True),
    ],
)
def test_values_are_equal_as_json_and_lists_as_sets(gold: Any, given: str, equal: bool) -> None:
    assert scores(f'{{"x": {given}}}', {"x": gold}) == (1, float(equal), float(equal))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"name":', "}")])
@pytest.mark.parametrize("closed", [True, False])
def test_nested_answers_of_any_depth_are_scored(opening: str, closing: str, closed: bool) -> None:
    for depth in [*range(300, 1100, 7), 100_000]:
        bomb = f'{{"name": {opening * depth}1{closing * depth if closed else ""}}}'
        valid, fields, record = scores(bomb)
        assert (fields, record) == (0.0, 0.0)
        assert valid == 0.0 or closed


@pytest.mark.parametrize("answer", ['{"name": ' + "9" * 5000 + "}", '{"name": 1e999}', '{"name": "\\ud83d"}', "\x00"])
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
    ("answer", "value"), [('{"a": 1}', {"a": 1}), ("[1]", None), ("x", None), ("", None), ('{"a": 1', None), ("{}", {})]
)
def test_parsed_gives_the_object_or_none(answer: str, value: dict[str, Any] | None) -> None:
    assert objects.parsed(answer) == value


@pytest.mark.parametrize(
    ("answer", "gold", "valid"),
    [
        ('{"a": "x", "b": 2.5}', {"a": "y", "b": 1}, 1),
        ('{"a": null, "b": null}', {"a": "y", "b": 1}, 1),
        ('{"a": ["x"], "b": 1}', {"a": None, "b": 1}, 1),
        ('{"a": "x"}', {"a": "x", "b": None}, 0),
        ('{"a": "x", "b": 1, "c": 1}', {"a": "x", "b": 1}, 0),
        ('{"a": "x", "b": "1"}', {"a": "x", "b": 1}, 0),
        ('{"a": "x", "b": true}', {"a": "x", "b": 1}, 0),
        ('{"a": "x"} and more', {"a": "x"}, 0),
    ],
)
def test_a_valid_schema_has_the_fields_and_types(answer: str, gold: Any, valid: int) -> None:
    assert extraction.score(*item(answer, gold))[0]["schema_valid"] == valid


@pytest.mark.parametrize(
    ("answer", "gold", "precision", "recall", "f1"),
    [
        ('{"a": "x", "b": null}', {"a": "x", "b": "y"}, 1, 1 / 2, 2 / 3),
        ('{"a": "x", "b": "z"}', {"a": "x", "b": None}, 1 / 2, 1, 2 / 3),
        ('{"a": ["x", "y", "y"]}', {"a": ["y", "x", "z", "w"]}, 1, 1 / 2, 2 / 3),
        ('{"b": "x"}', {"a": "x"}, 0, 0, 0),
        ('{"a": [1.0, 2]}', {"a": [2.0, 1]}, 1, 1, 1),
        ('{"a": null}', {"a": None}, 1, 1, 1),
        ('{"a": []}', {"a": None}, 1, 1, 1),
        ('{"a": "x"}', {"a": None}, 0, 0, 0),
        ("no object", {"a": None}, 0, 0, 0),
        ('{"a": "x"} no', {"a": "x"}, 0, 0, 0),
    ],
)
def test_values_count_as_sets_and_null_is_no_value(answer: str, gold: Any, precision: float, recall: float, f1: float) -> None:
    measures = extraction.score(*item(answer, gold))[1]
    assert list(measures.values()) == pytest.approx([precision, recall, f1])


def test_totals_weigh_values_in_micro_and_fields_in_macro() -> None:
    rows = [
        item('{"name": "Ann", "tags": ["a", "b"], "extra": 1}', {"name": "Ann", "tags": ["b", "c"]}),
        item('{"name": "Bo", "tags": []}', {"name": "Ben", "tags": []}),
        item("no object", {"name": "Cy", "tags": ["d"]}),
    ]
    found = extraction.totals(*zip(*rows, strict=True))
    expected = {
        **dict.fromkeys(("name_precision", "name_recall", "name_f1"), 1 / 3),
        **dict.fromkeys(("tags_precision", "tags_recall", "tags_f1"), 1 / 3),
        "field_precision": 2 / 7,
        "field_recall": 2 / 6,
        "field_f1": 4 / 13,
        **dict.fromkeys(("field_precision_macro", "field_recall_macro", "field_f1_macro"), 1 / 3),
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("gold", [{"a": None}, {"a": "x"}, {"a": []}, {}])
def test_an_answer_that_cannot_be_parsed_counts_as_0_in_total(gold: Any) -> None:
    example, prediction = item("garbage", gold)
    assert set(extraction.totals([example], [prediction]).values()) == {0.0}


def test_invented_fields_lower_micro_and_not_macro() -> None:
    rows = [item('{"a": "x"}', {"a": "x"})] * 99 + [item('{"a": "x", "b": 1, "c": 2}', {"a": "x"})]
    found = extraction.totals(*zip(*rows, strict=True))
    assert (found["field_f1_macro"], found["field_precision"]) == (1.0, 100 / 102)
    assert not {"b_f1", "c_f1"} & found.keys()


def test_an_invented_value_lowers_micro_and_macro() -> None:
    example, prediction = item('{"a": "halluc", "b": "x"}', {"a": None, "b": "x"})
    found = extraction.totals([example], [prediction])
    assert (found["field_precision"], found["field_f1_macro"], found["a_f1"], found["b_f1"]) == (1 / 2, 1 / 2, 0, 1)
