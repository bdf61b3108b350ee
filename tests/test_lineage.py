"""`tunetrail trace`: the records behind a record, and its sources."""

from pathlib import Path

import pytest

from stages import figures, lineage, records
from stages.errors import DataError
from stages.figures.alignment import Alignment, AlignmentStep
from stages.preferences.records import Pair, Sample, Vote
from stages.records import Call, Document, Example, Fact, Message, Prediction, Task

DOCUMENT = Document(text="The fee is $5. " * 40, kind="document", source="fees.md")
FACT = Fact(subject="account", relation="has fee", object="$5", source="fees.md")
TASK = Task(
    kind="text", instruction="What is the fee?", output="$5", source="fees.md", parents=(DOCUMENT.id, FACT.id, "call-gone")
)
EXAMPLE = Example(
    kind="text",
    messages=(Message(role="user", content="What is\nthe fee?"), Message(role="assistant", content="$5")),
    source="fees.md",
    parents=(TASK.id,),
)
ANSWER = Prediction(
    example=EXAMPLE.id, system="tuned_42", text="$6", stopped=True, prompt_tokens=1, new_tokens=1, parents=(EXAMPLE.id,)
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    records.write(tmp_path / "predictions/tuned_42.jsonl", [ANSWER])
    records.write(tmp_path / "formatted/test.jsonl", [EXAMPLE])
    records.write(tmp_path / "raw/test.jsonl", [TASK])
    records.write(tmp_path / "raw/documents.jsonl", [DOCUMENT])
    records.write(tmp_path / "raw/facts.jsonl", [FACT])
    return tmp_path


def test_trace_reaches_document_fact_and_missing_record(data: Path) -> None:
    lines = list(lineage.trace(ANSWER.id, data))
    ids = [line.strip().split()[0] for line in lines if not line.startswith("    ") or "-" in line.split()[0]]
    assert [id for id in ids if "-" in id] == [ANSWER.id, EXAMPLE.id, TASK.id, DOCUMENT.id, FACT.id, "call-gone"]
    assert any("user: What is the fee?" in line for line in lines)
    assert any(line.strip() == "relation: has fee" for line in lines)
    assert max(map(len, lines)) < 200
    assert "not in this run's files" in lines[-1]


def pair(question: str, held_out: bool = False) -> tuple[Sample, Call, Pair]:
    """Return a sample, a verdict on it, and a pair made from both."""
    asked = (Message(role="user", content=question),)
    sample = Sample(example=EXAMPLE.id, number=0, text=f"no {question}", stopped=True, new_tokens=1, parents=(EXAMPLE.id,))
    call = Call(messages=asked, request=question, text="Verdict: A", stopped=True, prompt_tokens=1, new_tokens=1)
    made = {"prompt": asked, "chosen": "$5", "rejected": sample.text, "chosen_from": "reference", "rejected_from": "sample"}
    return sample, call, Pair(**made, source="judge", held_out=held_out, parents=(sample.id, call.id))


def aligned(data: Path, method: str, **rewards: float) -> Prediction:
    """Write the answer of an aligned model, and its alignment by this method; return the answer."""
    answer = Prediction.model_validate(ANSWER.model_copy(update={"id": "", "system": "aligned_42"}).model_dump())
    records.write(data / "predictions/aligned_42.jsonl", [answer])
    log = [AlignmentStep(step=1, loss=0.1, learning_rate=1e-5, rewards=rewards)]
    figures.write(data / "alignment/42.json", Alignment(steps=1, looks=[], method=method, log=log))
    return answer


def test_aligned_answer_leads_to_the_nearest_pairs(data: Path) -> None:
    made = [pair(text) for text in ("What is the fee?", "What is the fee now?", "Why?", "Who?")]
    unseen = pair("What is the fee today?", held_out=True)
    answer = aligned(data, "dpo")
    for place, name in enumerate(("samples", "calls", "pairs")):
        records.write(data / f"pairs/42/{name}.jsonl", [found[place] for found in (*made, unseen)])
    lines = list(lineage.trace(answer.id, data))
    start = lines.index("the stage pairs made 4 pairs for aligned_42; those with the nearest prompts:")
    found = [line.split()[0] for line in lines[start:]]
    assert [id for id in found if id.startswith("pair-")][:2] == [made[0][2].id, made[1][2].id]
    assert {made[0][0].id, made[0][1].id, EXAMPLE.id, DOCUMENT.id} <= set(found)
    assert unseen[2].id not in found
    assert not any("made 4 pairs" in line for line in lineage.trace(ANSWER.id, data))
    later = pair("What is the fee of today?")
    for place, name in ((0, "samples"), (2, "pairs")):
        records.write(data / f"rounds/42/round-2/{name}.jsonl", [later[place]])
    text = "\n".join(lineage.trace(answer.id, data))
    assert "the stages pairs and align made 5 pairs for aligned_42" in text
    assert f"  {later[2].id}  {data}/rounds/42/round-2/pairs.jsonl" in text
    assert f"  {later[0].id}  {data}/rounds/42/round-2/samples.jsonl" in text


def test_only_what_the_method_reads_is_traced(data: Path) -> None:
    _, call, made = pair("What is the fee?")
    vote = Vote(example=EXAMPLE.id, prompt=made.prompt, text="$7", good=False, source="judge", parents=(call.id,))
    for name, found in (("calls", call), ("pairs", made), ("votes", vote)):
        records.write(data / f"pairs/42/{name}.jsonl", [found])
    shown = {method: "\n".join(lineage.trace(aligned(data, method).id, data)) for method in ("dpo", "kto", "grpo")}
    assert made.id in shown["dpo"] and vote.id not in shown["dpo"]
    assert made.id in shown["kto"] and vote.id in shown["kto"] and "made 2 pairs and votes for aligned_42" in shown["kto"]
    assert made.id not in shown["grpo"] and vote.id not in shown["grpo"]
    assert shown["grpo"].endswith("aligned_42 was aligned by grpo, from rewards of its own samples, not from pairs")
    *_, last = lineage.trace(aligned(data, "grpo", reward_model=0.5).id, data)
    assert last.endswith("not from pairs; the pairs of its reward model belong to the run that made it")


def test_unique_beginning_of_an_id_is_enough(data: Path) -> None:
    assert list(lineage.trace(ANSWER.id[:9], data)) == list(lineage.trace(ANSWER.id, data))
    with pytest.raises(DataError, match="no record"):
        list(lineage.trace("ex-0000", data))
    with pytest.raises(DataError, match="2 records begin like this"):
        lineage.read(data)
        records.write(data / "raw/train.jsonl", [Task(kind="text", output="x", source="s", instruction="y")])
        list(lineage.trace("task-", data))


def test_shared_parents_are_traced_once(tmp_path: Path) -> None:
    """Sixteen rounds of tasks, each made from the two before, have 65,536 paths but 34 records."""
    made = [Task(kind="text", instruction=f"seed {n}", output="x", source="s") for n in range(2)]
    for round in range(16):
        parents = (made[-1].id, made[-2].id)
        made += [Task(kind="text", instruction=f"{round} {n}", output="x", source="s", parents=parents) for n in range(2)]
    records.write(tmp_path / "raw/pool.jsonl", made)
    lines = list(lineage.trace(made[-1].id, tmp_path))
    assert sum("pool.jsonl" in line for line in lines) == 33
    assert sum("(see above)" in line for line in lines) == 30
    assert sorted(lineage.sources(made[-1].id, lineage.read(tmp_path))) == sorted(task.id for task in made[:2])


def test_bad_line_is_named(data: Path) -> None:
    (data / "raw/facts.jsonl").write_text('{"id": "a"}\n[]\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"facts\.jsonl:2: not a record"):
        list(lineage.trace("x", data))


def test_sources_are_the_ends_of_the_trace(data: Path) -> None:
    assert lineage.sources(ANSWER.id, lineage.read(data)) == [DOCUMENT.id, FACT.id]


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "a", "text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"id": "a", "text": ' + "[" * 900 + "]" * 900 + "}",
        '{"id": "a", "text": ' + '{"b":' * 100_000,
        '{"id": "a", "text": ' + "9" * 5000 + "}",
        '{"id": 5}',
        '{"id": "a", "parents": 5}',
        '{"id": "a", "parents": [{}]}',
        '{"id": "a", "messages": ["b"]}',
        '{"id": "a", "text": "\\ud800"}',
        "[]",
        "",
    ],
    ids=["lists", "fewer lists", "objects", "digits", "id", "parents", "parent", "message", "surrogate", "list", "empty"],
)
def test_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/test.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"raw/test\.jsonl:1: not a record"):
        list(lineage.trace("a", tmp_path))


@pytest.mark.parametrize("length", [1, 5000])
def test_long_chain_of_parents_is_traced(length: int, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    rows = [f'{{"id": "r{n}.", "parents": ["r{(n + 1) % length}."]}}\n' for n in range(length)]  # the last names the first
    (tmp_path / "raw/test.jsonl").write_text("".join(rows))
    lines = list(lineage.trace("r0.", tmp_path))
    assert len(lines) == length + 1 and lines[-1].endswith("(see above)")
