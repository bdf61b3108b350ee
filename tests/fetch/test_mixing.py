"""Several data sets in one run: names, numbers and weights, and prompts in several wordings."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.errors import DataError
from stages.fetch import mixing, recognition
from stages.params import MixData
from stages.records import Task
from stages.spool import Spool
from tests.fixtures.own_rows import ASKED, read, save, settings

NOTHING: dict[str, Any] = {"rows": None, "weights": None, "protect": None}
NLI = {"input": "premise", "output": "label"}
WORDINGS = [
    {"text": "{{ premise }}\nDoes it follow that {{ hypothesis }}?", "share": 3},
    {"text": "{{ hypothesis }}: is it so, given “{{ premise }}”?", "share": 1},
]


def saved(folder: Path, name: str, values: list[dict[str, Any]]) -> Path:
    return save(folder, f"{name}.jsonl", "".join(json.dumps(value) + "\n" for value in values))


def part(folder: Path, name: str, count: int, **changes: Any) -> dict[str, Any]:
    path = saved(folder, name, [{"input": f"{name} {n}", "output": f"answer {n}"} for n in range(count)])
    return settings(path, ASKED, **{"valid": 0.2, "test": 0.2} | changes).model_dump()


def mixture(folder: Path, mix: dict[str, Any] | None = None, **sizes: int) -> MixData:
    sets = {name: part(folder, name, size) for name, size in sizes.items()}
    mix = NOTHING | (mix or {})
    return MixData.model_validate({"kind": "mix", "path": str(folder), "system": "", "sets": sets, "mix": mix})


def mixed(data: MixData, seed: int = 1) -> dict[str, list[Task]]:
    return {split: list(tasks) for split, tasks in read_all(data, seed)[0].items()}


def protected(data: MixData) -> list[Task]:
    return read_all(data)[1]


def read_all(data: MixData, seed: int = 1) -> tuple[dict[str, Spool[Task]], list[Task]]:
    return mixing.tasks(data, seed, {name: recognition.opened(each) for name, each in data.sets.items()})


def counts(found: dict[str, list[Task]]) -> dict[str, Counter[str]]:
    return {split: Counter(task.dataset for task in tasks) for split, tasks in found.items()}


def test_rows_keep_the_split_that_they_have_alone(tmp_path: Path) -> None:
    data = mixture(tmp_path, one=100, two=50)
    found = mixed(data)
    for name in ("one", "two"):
        alone = read(tmp_path / f"{name}.jsonl", valid=0.2, test=0.2)
        assert [task.input for task in found["train"] if task.dataset == name] == [task.input for task in alone]
    assert {task.dataset for tasks in found.values() for task in tasks} == {"one", "two"}
    assert sum(map(len, found.values())) == 150


def test_data_sets_are_interleaved_in_proportion(tmp_path: Path) -> None:
    for tasks in mixed(mixture(tmp_path, one=300, two=100)).values():
        share = Counter(task.dataset for task in tasks)["two"] / len(tasks)
        for count in range(10, len(tasks)):
            assert abs(Counter(task.dataset for task in tasks[:count])["two"] - share * count) <= 1


def test_weights_take_as_many_rows_as_there_are(tmp_path: Path) -> None:
    everything = counts(mixed(mixture(tmp_path, one=400, two=100)))
    found = counts(mixed(mixture(tmp_path, {"weights": {"one": 1, "two": 2}}, one=400, two=100)))
    assert found["train"]["two"] == everything["train"]["two"]
    assert found["train"]["one"] == round(found["train"]["two"] / 2)
    assert (found["valid"], found["test"]) == (everything["valid"], everything["test"])


def test_protected_rows_are_those_that_the_number_draws(tmp_path: Path) -> None:
    sizes = {"one": 100, "two": 50}
    drawn = mixed(mixture(tmp_path, {"rows": {"one": 30}}, **sizes))["train"]
    data = mixture(tmp_path, {"rows": {"one": 0}, "protect": {"one": 30}}, **sizes)
    assert protected(data) == [task for task in drawn if task.dataset == "one"]
    assert {task.dataset for task in mixed(data)["train"]} == {"two"}
    assert protected(mixture(tmp_path, **sizes)) == []
    with pytest.raises(DataError, match=r"^data\.mix\.protect\.two = 40: it has 30 training rows; lower it$"):
        protected(mixture(tmp_path, {"protect": {"two": 40}}, **sizes))


def test_numbers_are_drawn_without_repetition(tmp_path: Path) -> None:
    data = mixture(tmp_path, {"rows": {"one": 30}}, one=100, two=50)
    found = mixed(data)
    assert counts(found)["train"]["one"] == 30
    inputs = [task.input for task in found["train"] if task.dataset == "one"]
    assert len(set(inputs)) == 30 and inputs == sorted(inputs, key=lambda text: int(text.split()[1]))
    assert mixed(data) == found != mixed(data, seed=2)
    assert counts(found)["train"]["two"] == counts(mixed(mixture(tmp_path, one=100, two=50)))["train"]["two"]


def test_data_set_with_number_zero_is_only_tested(tmp_path: Path) -> None:
    found = counts(mixed(mixture(tmp_path, {"rows": {"two": 0}}, one=100, two=50)))
    alone = counts(mixed(mixture(tmp_path, one=100, two=50)))
    assert found["train"] == Counter(one=alone["train"]["one"])
    assert (found["valid"], found["test"]) == (alone["valid"], alone["test"])


def test_number_that_a_data_set_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.mix\.rows\.two = 99: it has \d\d training rows; lower it"):
        mixed(mixture(tmp_path, {"rows": {"two": 99}}, one=100, two=50))


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"rows": {"one": 1}, "weights": {"one": 1, "two": 1}}, r"mix\.rows and mix\.weights both"),
        ({"protect": {"onne": 1}}, r"mix\.protect\.onne: no such data set; there are one, two"),
        ({"protect": {"one": 0}}, "greater than 0"),
        ({"rows": {"onne": 1}}, r"mix\.rows\.onne: no such data set; there are one, two"),
        ({"weights": {"one": 1}}, r"mix\.weights: two is missing"),
        ({"weights": {"one": 1, "two": 0}}, "greater than or equal to 0.000001"),
        ({"rows": {"one": -1}}, "greater than or equal to 0"),
        ({"rows": {"one": 0, "two": 0}}, r"mix\.rows: 0 of each of one, two leaves nothing to train on"),
        ({"rows": {"one": 1.5}}, "valid integer"),
    ],
)
def test_amounts_that_cannot_be_are_refused(tmp_path: Path, mix: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        mixture(tmp_path, mix, one=30, two=30)


def test_data_set_outside_the_folder_is_refused(tmp_path: Path) -> None:
    values = mixture(tmp_path, one=30, two=30).model_dump() | {"path": str(tmp_path / "inner")}
    with pytest.raises(ValidationError, match=r"sets\.one\.path: .*one\.jsonl is not in path = .*inner.*; move it"):
        MixData.model_validate(values)
    with pytest.raises(ValidationError, match="at least 2 items"):
        mixture(tmp_path, one=30)


def nli(folder: Path, count: int = 400) -> Path:
    values = [{"premise": f"Lot {n} is {{{{ 7 }}}}", "hypothesis": f"{n} is", "label": f"yes {n}"} for n in range(count)]
    return saved(folder, "nli", values)


def test_wordings_have_their_shares_and_their_slices(tmp_path: Path) -> None:
    found = read(nli(tmp_path), NLI, wordings=WORDINGS)
    by_wording = Counter(task.slices for task in found)
    assert by_wording.keys() == {("wording_1",), ("wording_2",)} and 260 < by_wording[("wording_1",)] < 340
    texts = {task.output: task.input for task in found}
    assert texts["yes 7"] in ("Lot 7 is {{ 7 }}\nDoes it follow that 7 is?", "7 is: is it so, given “Lot 7 is {{ 7 }}”?")
    assert read(nli(tmp_path), NLI, wordings=WORDINGS[:1])[0].slices == ()


def test_wordings_of_a_mixture_are_those_of_a_data_set(tmp_path: Path) -> None:
    data = mixture(tmp_path, one=30, two=30)
    texts = [{"text": f"{{{{ input }}}} {sign}", "share": 1} for sign in "?!"]
    sets = {name: {**part.model_dump(), "wordings": texts} for name, part in data.sets.items()}
    found = mixed(MixData.model_validate(data.model_dump() | {"sets": sets}))
    slices = {(task.dataset, *task.slices) for task in found["train"]}
    assert slices == {(name, f"{name}_wording_{number}") for name in ("one", "two") for number in (1, 2)}


def test_wording_moves_no_row_to_another_split(tmp_path: Path) -> None:
    path, shares = nli(tmp_path), {"valid": 0.2, "test": 0.3}
    plain, worded = (read(path, NLI, **shares, wordings=wordings) for wordings in ([], WORDINGS))
    assert [(task.output, task.source) for task in plain] == [(task.output, task.source) for task in worded]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ premis }}", r"nli\.jsonl:1: data\.wordings\[1\] names the column 'premis'; the columns are 'premise'"),
        ("{{ premise.__class__ }}", r"data\.wordings\[1\] names the column 'premise\.__class__'"),
        ("{{ 1 / 0 }}", r"data\.wordings\[1\] names the column '1 / 0'"),
    ],
)
def test_wording_that_cannot_be_written_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(nli(tmp_path, 3), NLI, wordings=[{"text": text, "share": 1}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"wordings": [{"text": text, "share": 1}]}, r"only `\{\{ name \}\}` with the name of a column is read, not '")
            for text in map(
                "{{{{ premise }}}} {}".format, ("{{ premise", "premise }}", "{{ }}", "{% if x %}", "{# x #}", "{{(((")
            )
        ),
        ({"wordings": [{"text": "Kind?", "share": 1}]}, "names no column, so all prompts would be equal"),
        ({"wordings": [{"text": "{{ premise }}", "share": 0}]}, "greater than or equal to 0.000001"),
        ({"wordings": [{"text": "{{ premise }}", "share": 1e308}]}, "less than or equal to"),
        ({"wordings": WORDINGS, "columns": {"messages": "chat"}}, r"wordings write the prompt from columns, .* set it to \[\]"),
    ],
)
def test_wordings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(Path("x"), **{"columns": NLI, **changes})


@pytest.mark.parametrize(
    ("value", "shown"), [(7, "7"), (None, ""), (["a", "ü"], '["a", "ü"]'), (True, "true"), ("{% x %}", "{% x %}")]
)
def test_further_columns_of_any_kind_can_be_written(tmp_path: Path, value: Any, shown: str) -> None:
    path = saved(tmp_path, "mine", [{"input": "q", "output": "a", "my column": value}])
    (task,) = read(path, wordings=[{"text": "{{ input }} [{{ my column }}]", "share": 1}])
    assert (task.instruction, task.input) == ("", f"q [{shown}]")


def test_file_of_a_set_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    sets = {name: part(tmp_path, name, 9) for name in ("one", "two")}
    sets["two"]["path"] = f"{tmp_path}/../../hosts.jsonl"
    with pytest.raises(ValidationError, match=r"sets\.two\.path: .* is not in path = "):
        MixData.model_validate({"kind": "mix", "path": str(tmp_path), "system": "", "sets": sets, "mix": NOTHING})


def test_weight_that_draws_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.mix\.weights\.two: too small for one row of it next to the other sets"):
        mixed(mixture(tmp_path, {"weights": {"one": 1000, "two": 1}}, one=100, two=50))


def test_wording_of_an_empty_column_alone_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "mine", [{"input": "q", "output": "a", "empty": None}])
    with pytest.raises(DataError, match=r"data\.wordings\[1\] gives no text; name a column that is not empty"):
        read(path, wordings=[{"text": " {{ empty }} ", "share": 1}])


@pytest.mark.parametrize("columns", [ASKED, "auto"], ids=["named", "recognised"])
def test_wording_with_the_right_answer_is_refused(tmp_path: Path, columns: Any) -> None:
    path = saved(tmp_path, "mine", [{"input": "q", "output": "a"}])
    with pytest.raises(DataError, match=r"data\.wordings: one names 'output', the column of the right answer; leave it out"):
        read(path, columns, wordings=[{"text": "{{ input }} {{ output }}", "share": 1}])
