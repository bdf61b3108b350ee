"""Test items and training pairs from a graph of facts: what is trained, what is held out, and that no answer is false."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from stages import params
from stages.errors import DataError
from stages.fetch import graph
from stages.fetch.splits import SPLITS
from stages.fetch.wordings import read_file
from stages.params import GraphData, RowsData, compose
from stages.records import UNANSWERABLE, Fact, Task
from stages.synthesize import self_kg
from stages.synthesize.made import Inputs, Made
from stages.tasks.questions import FORMS, PLACEHOLDER, Wordings, invented
from tests.fixtures.graphs import MEDICAL, Fetched, facts_of, of_slice, options, right, settings, shown, synthesized
from tests.fixtures.scripted import Scripted


def test_removed_fact_changes_only_its_own_subject(data: GraphData, fetched: Fetched, made: Made) -> None:
    documents, facts, _ = fetched
    gone, *rest = facts["train"]
    fewer = self_kg.run(Inputs(documents["train"], [], [], rest, data), Scripted(str), options(), 1)

    def others(each: Made) -> list[Task]:
        return [task for task in each.tasks if task.source != gone.subject and UNANSWERABLE not in task.slices]

    kept = [task for task in others(made) if task.output != data.decline]
    assert kept and kept == [task for task in others(fewer) if task.output != data.decline]


def test_removed_fact_costs_few_rewordings(data: GraphData, fetched: Fetched) -> None:
    documents, facts, _ = fetched
    asked = []
    for trained in (facts["train"], facts["train"][1:]):
        teacher = Scripted(lambda text: text)
        self_kg.run(Inputs(documents["train"], [], [], trained, data), teacher, options(reword=60), 1)
        asked.append({call.messages for call in teacher.calls})
    assert len(asked[0] - asked[1]) < len(asked[0]) / 5


def test_new_entities_are_named_nowhere_in_training(fetched: Fetched, made: Made) -> None:
    seeds, facts, splits = fetched[0]["train"], fetched[1]["train"], fetched[2]
    new = {task.source for task in of_slice(splits["test"] + splits["valid"], "new_entities")}
    assert len(new) == 6
    trained = {name for fact in facts for name in (fact.subject, fact.object)} | {document.text for document in seeds}
    assert new.isdisjoint(trained)
    assert [task.id for task in made.tasks for name in new if re.search(rf"{name}\b", task.instruction + task.output)] == []


def test_held_out_facts_have_trained_entities(fetched: Fetched) -> None:
    facts, splits = fetched[1]["train"], fetched[2]
    trained = {(fact.subject, fact.object) for fact in facts}
    for split in ("valid", "test"):
        held_out = {(task.source, right(task)) for task in of_slice(splits[split], "held_out_facts")}
        assert held_out
        assert held_out.isdisjoint(trained)
        assert {subject for subject, _ in held_out} <= {subject for subject, _ in trained}
        assert {(task.source, right(task)) for task in of_slice(splits[split], "trained_facts")} <= trained


def test_valid_and_test_ask_about_different_facts(fetched: Fetched) -> None:
    splits = fetched[2]
    asked = [{(t.source, right(t)) for t in splits[split] if t.kind == "choice"} for split in ("valid", "test")]
    assert asked[0].isdisjoint(asked[1])


def test_no_wrong_option_is_true(data: GraphData, fetched: Fetched, made: Made) -> None:
    related = graph.read(data, 1).related
    choices = [task for task in [*fetched[2]["valid"], *fetched[2]["test"], *made.tasks] if task.kind == "choice"]
    assert len(choices) > 200
    for task in choices:
        assert [option in related[task.source] for option in shown(task)].count(True) == 1
        assert right(task) in related[task.source]
        assert len(set(shown(task))) == 5


def test_recalling_wrong_options_solves_no_control(fetched: Fetched) -> None:
    seeds, facts, splits = fetched[0]["train"], fetched[1]["train"], fetched[2]
    wrong = {(document.source, document.text) for document in seeds if document.kind == "distractor"}
    known = {fact.object for fact in facts}
    for task in of_slice(splits["test"], "held_out_facts"):
        assert wrong.isdisjoint((task.source, option) for option in shown(task))
        assert len({option in known for option in shown(task)}) == 1, "the right option stands out"


def test_a_choice_has_the_form_of_medqa(fetched: Fetched) -> None:
    task = of_slice(fetched[2]["test"], "trained_facts")[0]
    form = r"[^\n]+\n\nOptions:\nA\. .+\nB\. .+\nC\. .+\nD\. .+\nE\. .+\n\nPlease choose the correct answer\."
    assert re.fullmatch(form, task.instruction)
    assert task.choices == tuple(f"The correct answer is {option}." for option in shown(task))
    assert task.output in task.choices


def test_yes_and_no_questions_are_equally_frequent(made: Made) -> None:
    answers = [task for task in made.tasks if "yes_no" in task.slices and task.output != "I do not know this name."]
    assert Counter(task.output.split(",")[0] for task in answers) == {"Yes": len(answers) // 2, "No": len(answers) // 2}
    assert len(answers) > 100


def test_no_test_question_is_worded_as_in_training(fetched: Fetched, made: Made) -> None:
    def skeleton(task: Task) -> str:
        text = task.instruction.split("\n")[0]
        return re.sub("Disease \\d+|feature \\w\\d", "…", text.replace(task.source, "…"))

    trained = {skeleton(task) for task in made.tasks}
    for split in ("valid", "test"):
        assert trained.isdisjoint(skeleton(task) for task in fetched[2][split])


def test_a_wording_that_stands_in_two_splits_is_refused(tmp_path: Path) -> None:
    wordings = tmp_path / "wordings"
    wordings.mkdir()
    for split in ("train", "valid", "test"):
        (wordings / f"{split}.yaml").write_text((MEDICAL / "train.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DataError, match=r"valid\.yaml: .* is also in train\.yaml"):
        graph.questions(settings(tmp_path / "g", facts_of(6), wordings), 1)


def test_authored_wordings_ask_about_the_subject() -> None:
    by_split = {split: Wordings(read_file(MEDICAL / f"{split}.yaml")[0]) for split in SPLITS}
    for relation in ("very frequent feature", "frequent feature", "plain name", "broader term"):
        assert len(by_split["train"].of("choice", relation)) >= 3
        for wordings in by_split.values():
            for form in FORMS:
                for wording in wordings.of(form, relation):
                    ask = wording.text.split("\n")[0]
                    assert "subject" in PLACEHOLDER.findall(ask)
                    assert form != "yes_no" or "object" in PLACEHOLDER.findall(ask)


def test_every_training_row_leads_back_to_its_facts(fetched: Fetched, made: Made) -> None:
    seeds, facts = fetched[0]["train"], fetched[1]["train"]
    by_id = {record.id: record for record in [*seeds, *facts]}
    for task in made.tasks:
        parents = [by_id[parent] for parent in task.parents]
        stated = [parent for parent in parents if isinstance(parent, Fact)]
        assert {fact.subject for fact in stated} <= {task.source}
        assert stated or task.output == "I do not know this name."
    assert made.figures["facts_asked"] == made.figures["facts"] == len(facts)


def test_an_open_answer_names_all_trained_objects(fetched: Fetched, made: Made) -> None:
    task = next(task for task in made.tasks if "open" in task.slices)
    objects = {fact.object for fact in fetched[1]["train"] if fact.subject == task.source}
    assert set(re.findall(r"feature \w\d", task.output)) == objects


def test_invented_names_are_declined_in_every_form(data: GraphData, fetched: Fetched, made: Made) -> None:
    test = of_slice(fetched[2]["test"], UNANSWERABLE)
    trained = [task for task in made.tasks if task.output == data.decline]
    assert len(test) == data.rows.test.unanswerable
    assert {task.output for task in test} == {data.decline}
    assert {len(shown(task)) for task in test} == {0, 5}
    assert {form for task in trained for form in task.slices} == set(FORMS)
    names = {task.source for task in trained}
    assert names.isdisjoint(task.source for task in test)
    assert names.isdisjoint(graph.read(data, 1).related)


def test_graph_rows_depend_on_the_seed_alone(data: GraphData, fetched: Fetched, made: Made) -> None:
    again = graph.questions(data, 1)
    assert again == fetched
    assert synthesized(data, again).tasks == made.tasks
    assert {fact.subject for fact in graph.questions(data, 2)[1]["train"]} != {fact.subject for fact in fetched[1]["train"]}


def test_empty_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no facts"):
        graph.questions(settings(tmp_path / "g", []), 1)


def test_no_training_facts_give_no_rows(data: GraphData) -> None:
    made = synthesized(data, ({"train": []}, {"train": []}, {}))
    assert (made.tasks, made.rejected) == ([], [])


def test_one_fact_gives_open_questions_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = settings(tmp_path / "g", [("Disease 1", "frequent feature", "feature a1")])
    fetched = graph.questions(data, 1)
    assert "test: 0 of 80 items of trained_facts" in caplog.text
    made = synthesized(data, fetched, declining=0)
    assert {form for task in made.tasks for form in task.slices} == {"open"}
    assert {rejection.filter for rejection in made.rejected} == {"distractors"}
    assert {fact.subject for fact in fetched[1]["train"]} == {"Disease 1"}


def test_a_fact_with_an_empty_cell_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"facts\.csv:3: 'object' is empty"):
        graph.questions(settings(tmp_path / "g", [("a", "r", "b"), ("c", "r", "")]), 1)


def test_a_relation_without_wordings_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no .* for the relation 'cured by'"):
        graph.questions(settings(tmp_path / "g", [(f"a{n}", "cured by", f"b{n}") for n in range(9)]), 1)


MISTAKEN = {
    "train": """
r1: {choise: ["one {subject}"], yes_no: ["{subject}?"]}
r2: text
any: {choice: "one {subject}", frame: [f]}
""",
    "valid": r"""any: {open: ["a {subject}?\n{objects}"], frame: [f], invented: ["{Name}"], syllables: [a b c]}""",
    "test": "- a list",
}


def test_all_mistakes_in_wordings_are_reported_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "wordings"
    folder.mkdir()
    for split, text in MISTAKEN.items():
        (folder / f"{split}.yaml").write_text(text, encoding="utf-8")
    data = settings(tmp_path / "g", [(f"a{n}", f"r{n % 2 + 1}", f"b{n}") for n in range(9)], folder)
    with pytest.raises(DataError) as refused:
        graph.questions(data, 1)
    both = "the relations 'r1', 'r2'; write one, or one below 'any'"
    assert str(refused.value).replace(f"{data.path}/wordings/", "").splitlines() == [
        "train.yaml: r1.choise: unknown form; did you mean choice?",
        "train.yaml: r1.yes_no: must have 3 lines: '{subject}?'",
        "train.yaml: r2: must map forms such as choice to lists of texts",
        "train.yaml: any.choice: must be a list of texts",
        f"train.yaml: no open for {both}",
        "train.yaml: no yes_no for the relation 'r2'; write one, or one below 'any'",
        f"valid.yaml: no yes_no for {both}",
        f"valid.yaml: no choice for {both}",
        "test.yaml: must map each relation to its forms and each form to a list of texts",
    ]


def test_missing_parts_of_invented_names_are_reported_at_once(data: GraphData, fetched: Fetched) -> None:
    documents = [document for document in fetched[0]["train"] if document.kind not in ("invented", "syllables")]
    with pytest.raises(DataError, match=r"train\.yaml: no invented for the relation.*\n.*train\.yaml: no syllables for"):
        synthesized(data, ({"train": documents}, fetched[1], fetched[2]))
    assert synthesized(data, ({"train": documents}, fetched[1], fetched[2]), declining=0).tasks


CHINESE = r"""
any:
  choice: ["MARK下列哪项是{subject}的{relation}？"]
  yes_no: ["MARK{subject}的{relation}是{object}吗？\n是，{subject}的{relation}是{object}。\n否，不是{object}。"]
  open: ["MARK{subject}的{relation}有哪些？\n{subject}：{objects}。"]
  frame: ["{question}\n\n选项：\n{options}\n\n请选择正确答案。\n正确答案是{object}。"]
  invented: ["{name}综合征"]
  syllables: ["SYLLABLES"]
"""


def test_chinese_facts_are_asked_in_chinese(tmp_path: Path) -> None:
    wordings = tmp_path / "wordings"
    wordings.mkdir()
    for split, mark, syllables in (("train", "", "阿 贝 卡"), ("valid", "请问", "德 埃 弗"), ("test", "试问", "吉 赫 伊")):
        text = CHINESE.replace("MARK", mark).replace("SYLLABLES", syllables)
        (wordings / f"{split}.yaml").write_text(text, encoding="utf-8")
    signs = ["头痛", "发热", "咳嗽", "乏力", "皮疹", "腹泻", "贫血", "黄疸", "水肿", "耳聋", "失明", "抽搐"]
    triples = [(f"甲病{n}", "症状", signs[(n * 5 + k) % 12]) for n in range(12) for k in (0, 1, 4, 9)]
    data = settings(tmp_path / "g", triples, wordings, decline="我不知道这个名称。", system="")
    fetched = graph.questions(data, 1)
    made = synthesized(data, fetched)
    choices = of_slice(fetched[2]["test"], "trained_facts")
    assert choices
    assert all(task.output.startswith("正确答案是") and task.output in task.choices for task in choices)
    assert Counter(form for task in made.tasks for form in task.slices).keys() == set(FORMS)
    assert [task for task in made.tasks if re.search("[a-zA-Z]{2}", task.instruction + task.output)] == []


def test_other_data_than_a_graph_is_refused(data: GraphData) -> None:
    rows = RowsData.model_construct(kind="rows")
    with pytest.raises(DataError, match="needs a graph"):
        self_kg.run(Inputs([], [], [], [], rows), Scripted(str), options(), 1)
    with pytest.raises(DataError, match="self_kg needs a graph of facts"):
        params.check(
            compose.composed("experiment=complaints") | {"synthesis": compose.composed("synthesis=self_kg")["synthesis"]}
        )


def test_invented_names_of_two_splits_differ() -> None:
    names = []
    for split in SPLITS:
        wordings = Wordings(read_file(MEDICAL / f"{split}.yaml")[0])
        names.append({invented(wordings, "frequent feature", random.Random(n)) for n in range(200)})
    assert len(names[0]) > 150
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
