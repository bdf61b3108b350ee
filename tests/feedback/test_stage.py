"""The stage feedback: rows join answers, everything is counted, and corrections and votes become what is learned from."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import lineage, records
from stages.errors import DataError
from stages.feedback.records import Answer, Feedback
from stages.format import chats
from stages.preferences.records import Pair, Vote
from stages.records import Message, Task
from tests.feedback.conftest import answer, logged, read, task

ULM = answer()
RIO = answer("Where is Rio?", "In Brazil.")
LISTS = ("answers", "feedback", "tasks", "pairs", "votes")


def test_empty_file_writes_empty_outputs(run) -> None:
    funnel = run("")
    assert {name: Path(f"data/feedback/{name}.jsonl").read_bytes() for name in LISTS} == dict.fromkeys(LISTS, b"")
    assert (funnel["rows"], funnel["tasks"], funnel["votes"]) == (0, 0, 0)


def test_correction_becomes_a_row_and_a_pair(run) -> None:
    run([{"prediction_id": ULM.id, "correction": "In Germany."}], ULM)
    (row,), (pair,) = read("tasks", Task), read("pairs", Pair)
    assert (row.kind, row.system, row.input, row.output) == ("text", "Be brief.", "Where is Ulm?", "In Germany.")
    assert (pair.chosen, pair.rejected, pair.source) == ("In Germany.", "In Rio.", "feedback")
    assert (pair.chosen_from, pair.rejected_from) == ("correction", "answer")
    assert pair.prompt == ULM.messages == chats.example(row).prompt
    assert read("votes", Vote) == []


@pytest.mark.parametrize(("vote", "good"), [("up", True), ("👎", False), (1, True), (0, False), (True, True), ("1.0", True)])
def test_vote_without_a_correction_becomes_a_row_for_kto(run, vote: object, good: bool) -> None:
    run([{"prediction_id": ULM.id, "vote": vote}], ULM)
    (found,) = read("votes", Vote)
    assert (found.prompt, found.text, found.good, found.source) == (ULM.messages, "In Rio.", good, "feedback")
    assert read("tasks", Task) == read("pairs", Pair) == []


def test_trace_leads_to_the_production_answer(run) -> None:
    run([{"prediction_id": ULM.id, "correction": "In Germany.", "user": "ann", "comment": "No!"}], ULM)
    (row,), (pair,) = read("tasks", Task), read("pairs", Pair)
    trained = chats.example(row)
    records.write(Path("data/formatted/train.jsonl"), [trained])
    for id in (trained.id, pair.id):
        traced = "\n".join(lineage.trace(id))
        assert f"{ULM.id}  data/feedback/answers.jsonl" in traced
        assert all(line in traced for line in ("place: feedback.jsonl:1", "comment: No!", "system: tuned_42", "text: In Rio."))


def test_every_row_is_counted_once(run, capsys) -> None:
    funnel = run(
        [
            {"prediction_id": ULM.id, "vote": "up", "user": "ann"},
            {"prediction_id": ULM.id, "vote": "up", "user": "ann", "at": "later"},
            {"prediction_id": ULM.id, "vote": "up", "user": "ben"},
            {"prediction_id": "answer-0", "vote": "up"},
            {"prediction_id": ULM.id, "comment": "hm"},
            {"prediction_id": ULM.id, "correction": "In Rio."},
            {"vote": "up", "input": "Who?"},
        ],
        ULM,
    )
    assert (funnel["rows"], funnel["joined"], funnel["answers"], funnel["votes"]) == (7, 2, 1, 1)
    assert funnel["left_out"] == {
        **{"duplicate": 1, "unknown id": 1, "empty": 1, "correction equal to the answer": 1, "names no answer": 1},
    }
    assert "feedback.jsonl:4: unknown id, the first of 1\n" in capsys.readouterr().out


def test_equal_votes_without_users_are_of_several_people(run) -> None:
    again = {"prediction_id": ULM.id, "vote": "up"}
    assert run([again | {"at": "1"}, again | {"at": "2"}, again | {"at": "2"}], ULM)["left_out"] == {"duplicate": 1}


@pytest.mark.parametrize(
    "others", [[{"vote": "down"}], [{"correction": "In Peru."}], [{"vote": "down", "correction": "In Peru."}, {"vote": "down"}]]
)
def test_contradicting_users_are_counted_and_left_out(run, others) -> None:
    rows = [{"prediction_id": ULM.id, "user": f"u{i}", **row} for i, row in enumerate([{"vote": "up"}, *others])]
    funnel = run([*rows, {"prediction_id": RIO.id, "vote": "up"}], ULM, RIO)
    assert funnel["dropped"] == {"conflicting": 1}
    assert [vote.text for vote in read("votes", Vote)] == ["In Brazil."]
    assert len(read("feedback", Feedback)) == len(rows) + 1  # the report counts what contradicts too


def test_two_corrections_of_one_answer_conflict(run) -> None:
    rows = [{"prediction_id": ULM.id, "correction": text} for text in ("In Germany.", "In Bavaria.")]
    assert run(rows, ULM)["dropped"] == {"conflicting": 1}


def test_answers_of_two_systems_to_one_question_conflict(run) -> None:
    other = answer(text="In Peru.", system="base_0shot")
    same = answer(system="tuned_43")
    corrected = [
        {"prediction_id": ULM.id, "correction": "In Germany."},
        {"prediction_id": other.id, "correction": "In Bavaria."},
    ]
    assert run(corrected, ULM, other)["dropped"] == {"conflicting": 2}
    run([corrected[0], corrected[1] | {"correction": "In Germany."}], ULM, other)
    assert [pair.rejected for pair in read("pairs", Pair)] == ["In Rio.", "In Peru."]
    (row,) = read("tasks", Task)
    assert {ULM.id, other.id} < {*row.parents, *(id for pair in read("pairs", Pair) for id in pair.parents)}
    run([corrected[0], {"prediction_id": other.id, "vote": "up"}], ULM, other)  # says nothing of the corrected answer
    assert (len(read("tasks", Task)), len(read("votes", Vote))) == (1, 1)
    assert run([corrected[0], {"prediction_id": same.id, "vote": "up"}], ULM, same)["dropped"] == {"conflicting": 2}


LONG = "my parcel with the blue lamp has not come since the third of May"


def test_questions_of_test_rows_are_kept_out(run) -> None:
    copied, near = answer("WHERE is Ulm?!"), answer(f"Hello, {LONG}, please help")
    rows = [{"prediction_id": one.id, "correction": "In Germany."} for one in (copied, near, RIO)]
    rows.append({"input": "Where is Ulm?", "output": "In Rio.", "vote": "down"})
    funnel = run(rows, copied, near, RIO, test=[task("Where is Ulm?"), task(f"As you know {LONG}.")])
    assert funnel["dropped"] == {"question of a validation or test row": 3}
    assert [row.input for row in read("tasks", Task)] == ["Where is Rio?"]
    assert len(read("pairs", Pair)) == 1
    assert read("votes", Vote) == []


@pytest.mark.parametrize("order", [1, -1])
def test_correction_with_a_test_text_is_kept_out_in_any_order(run, order: int) -> None:
    rows = [{"prediction_id": ULM.id, "vote": "down", "user": "ann"}]
    rows.append({"prediction_id": ULM.id, "correction": f"In Germany. As you know {LONG}.", "user": "ben"})
    funnel = run(rows[::order], ULM, test=[task(f"Hello, {LONG}!")])
    assert funnel["dropped"] == {"question of a validation or test row": 1}
    assert read("tasks", Task) == read("pairs", Pair) == read("votes", Vote) == []


def test_own_input_and_output_need_no_log(run) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go."}]
    run(
        [
            {"input": "Where?", "output": "There.", "vote": "up", "system": "v1"},
            {"input": chat, "output": "No.", "vote": "down"},
        ]
    )
    first, second = read("answers", Answer)
    assert (first.system, [turn.content for turn in first.messages]) == ("v1", ["Be brief.", "Where?"])
    assert [turn.role for turn in second.messages] == ["system", "user", "assistant", "user"]


def test_own_input_and_output_find_the_only_logged_answer(run) -> None:
    row = {"input": "Where is Ulm?", "output": "In Rio.", "vote": "up"}
    run([row], ULM, RIO)
    assert read("answers", Answer) == [ULM]
    run([row], ULM, answer(system="tuned_43"))
    assert read("answers", Answer)[0].system == ""


EXTRACTION = SimpleNamespace(kind="complaints", system="Extract.", indent=None)
TRAIN = [task("Ann in Ulm", '{"name": "Ann", "city": "Ulm"}', kind="extraction")]


@pytest.mark.parametrize(
    ("correction", "reason"),
    [
        ("Ben", "not a JSON object"),
        ('{"name": "Ben"}', "other fields than the training rows have"),
        ('{"name": "Ben", "city": "Rio", "age": 3}', "other fields than the training rows have"),
        ('{"name": "Ben", "city": 3}', "a value of another type than the training rows have"),
        ('{"name": "Ben", "city": "Rome"}', "a text that is not in the prompt word for word"),
    ],
)
def test_correction_that_no_row_can_be_is_a_vote_against(run, correction: str, reason: str) -> None:
    wrong = answer("Ben in Rio", '{"name": "Rio", "city": "Rio"}')
    row = [{"prediction_id": wrong.id, "correction": correction}]
    assert run(row, wrong, data=EXTRACTION, train=TRAIN, constrain="copied")["dropped"] == {f"correction: {reason}": 1}
    assert [vote.good for vote in read("votes", Vote)] == [False]


def test_corrected_object_is_written_as_training_rows_are(run) -> None:
    wrong = answer("Ben in Rio", '{"name": "Rio", "city": "Rio"}')
    correction = {"city": "Rio", "name": "Ben"}
    run([{"prediction_id": wrong.id, "correction": correction}], wrong, data=EXTRACTION, train=TRAIN, constrain="copied")
    assert [row.output for row in read("tasks", Task)] == ['{"name": "Ben", "city": "Rio"}']


def test_corrected_label_is_one_of_the_labels(run) -> None:
    labels = ("bad", "good")
    data = SimpleNamespace(kind="rows", task="classification", system="")
    rows = [{"prediction_id": ULM.id, "correction": "good"}, {"prediction_id": RIO.id, "correction": "nice"}]
    train = [task("x", "good", kind="classification", choices=labels)]
    assert run(rows, ULM, RIO, data=data, train=train)["dropped"] == {"correction: not one of the options": 1}
    assert [row.output for row in read("tasks", Task)] == ["good"]


def test_corrected_choice_is_a_whole_answer(run) -> None:
    wrong = answer(choices=("The correct answer is Ulm.", "The correct answer is Rio."))
    run([{"prediction_id": wrong.id, "correction": "Ulm"}], wrong, data=SimpleNamespace(kind="rows", task="choice", system=""))
    assert [row.output for row in read("tasks", Task)] == ["The correct answer is Ulm."]


def test_tools_and_turns_of_a_prompt_survive(run) -> None:
    turns = [Message(role="developer", content="D", tools="[]"), Message(role="user", content="Q")]
    asked = Answer(messages=tuple(turns), text="A")
    run([{"prediction_id": asked.id, "correction": "B"}], asked)
    assert chats.example(read("tasks", Task)[0]).prompt == asked.messages


def test_edited_line_of_the_log_is_refused(run) -> None:
    run("", ULM)
    line = logged(ULM).replace("In Rio.", "In Peru.")
    Path("log.jsonl").write_text(line, encoding="utf-8")
    from stages.feedback import reading

    with pytest.raises(DataError, match=r"^log\.jsonl:1: prediction_id 'answer-\w+' does not belong to the answer"):
        reading.log(Path("log.jsonl"))


def test_stage_repeats_its_bytes(run) -> None:
    rows = [{"prediction_id": ULM.id, "correction": "In Germany."}, {"prediction_id": RIO.id, "vote": "up"}]
    found = []
    for _ in range(2):
        run(rows, ULM, RIO)
        found.append({name: Path(f"data/feedback/{name}.jsonl").read_bytes() for name in LISTS})
    assert found[0] == found[1]
    assert json.loads(found[0]["answers"].splitlines()[0])["id"] == ULM.id
