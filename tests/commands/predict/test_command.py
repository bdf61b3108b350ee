"""tunetrail predict: files of texts are answered in order, resumed after an interruption, or refused by line."""

import csv
import errno
import io
import json
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from stages import device, files, locks, params
from stages.commands.predict import answers, opening
from stages.commands.predict import command as predict
from stages.errors import DataError
from stages.generation import decoding
from stages.params import compose
from stages.terminal import CONTROL
from stages.text import chat, thoughts
from stages.text.copied import is_copy

pytestmark = pytest.mark.model

HEADLINE = ("report.headline=token_f1", "data.valid=0.2", "data.test=0.2")
NEW_TOKENS = 6
BATCH = 4
answer = partial(predict.answer, constrain="none")  # tiny models write no JSON
TEXTS = [f"{'long ' * (i % 3)}text {i}, 你好" for i in range(10)]


@pytest.fixture
def tuned(room, adapter, monkeypatch) -> Path:
    """Make the current folder a repository with a trained adapter."""
    root = room(f"predict.batch_size={BATCH}", f"predict.max_new_tokens={NEW_TOKENS}")
    shutil.copytree(adapter, root / "models/42/adapter")
    monkeypatch.chdir(root)
    return root


def lines_to(path: str, *given: str) -> str:
    Path(path).write_text("".join(line + "\n" for line in given), encoding="utf-8")
    return path


def rows_of(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_plain_lines_are_answered_in_order(tuned, monkeypatch):
    monkeypatch.setattr(device, "multiplies", lambda precision: True)  # in fp32, 5 of the answers differ
    answer(lines_to("texts.txt", *TEXTS), "answers.jsonl", ["tuned"])
    given = rows_of("answers.jsonl")
    assert [row["input"] for row in given] == TEXTS
    assert all(row.keys() == {"input", "prediction", "parsed", "valid"} for row in given)
    assert len({row["prediction"] for row in given}) > len(TEXTS) / 2
    assert [path.name for path in Path().iterdir() if path.suffix == ".part"] == []


def test_every_form_of_input_gives_the_same_answers(tuned):
    table = "".join(f'"{text}"\n' for text in ["input", *TEXTS])
    objects = [json.dumps({"input": text}, ensure_ascii=i % 2 == 0) for i, text in enumerate(TEXTS)]
    answer(lines_to("plain.txt", *(line for text in TEXTS for line in (text, "  "))), "plain.jsonl", ["tuned"])
    answer(lines_to("objects.jsonl", *objects), "objects.out.jsonl", ["tuned"])
    answer(lines_to("list.json", "[", ",\n".join(objects), "]"), "list.jsonl", ["tuned"])
    answer(lines_to("table.csv", table), "table.jsonl", ["tuned"])
    outputs = {Path(name).read_bytes() for name in ("plain.jsonl", "objects.out.jsonl", "list.jsonl", "table.jsonl")}
    assert len(outputs) == 1


def test_columns_of_a_row_stand_before_its_answer(tuned, capsys):
    rows = [{"id": i, "input": text, "tags": ["x"]} for i, text in enumerate(TEXTS)]
    answer(lines_to("in.jsonl", *map(json.dumps, rows)), "out.jsonl", ["tuned"])
    assert all(list(row) == ["id", "input", "tags", "prediction", "parsed", "valid"] for row in rows_of("out.jsonl"))
    assert [{key: row[key] for key in ("id", "input", "tags")} for row in rows_of("out.jsonl")] == rows
    assert "in.jsonl: columns that are not read, but kept in the output: id, tags\n" in capsys.readouterr().err


def test_table_in_table_out_with_two_systems(tuned):
    Path("in.csv").write_text('id,input\n007,"one,\ntwo"\n008,three\n', encoding="utf-8")
    answer("in.csv", "out.csv", ["base_0shot", "tuned"])
    answer("in.csv", "out.jsonl", ["tuned"])
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["id"], row["input"]) for row in found] == [("007", "one,\ntwo"), ("008", "three")]
    assert [row["tuned.prediction"] for row in found] == [row["prediction"] for row in rows_of("out.jsonl")]
    systems = [f"{name}.{key}" for name in ("base_0shot", "tuned") for key in ("prediction", "parsed", "valid")]
    assert list(found[0]) == ["id", "input", *systems]


def test_objects_are_expected_only_of_extraction(room, adapter, monkeypatch):
    root = room("data=rows", "data.path=x.csv", "data.columns={input: question, output: answer}", "synthesis=none", *HEADLINE)
    shutil.copytree(adapter, root / "models/42/adapter")
    monkeypatch.chdir(root)
    answer(lines_to("in.jsonl", '{"question": "Who?", "id": 7, "valid": true}'), "out.jsonl", ["tuned"])
    (row,) = rows_of("out.jsonl")
    assert row == {"question": "Who?", "id": 7, "valid": True, "prediction": row["prediction"]}


def test_instruction_and_system_of_a_row_reach_the_model(tuned, monkeypatch):
    asked = []

    def spy(lm, prompts, *rest):
        asked.extend(lm.tokenizer.decode(prompt) for prompt in prompts)
        return [decoding.Completion('{"a": 1}', True, 1) for _ in prompts]

    monkeypatch.setattr(decoding, "greedy", spy)
    row = {"input": "the text", "instruction": "Translate.", "system": "Be brief."}
    answer(lines_to("in.jsonl", json.dumps(row), '{"input": "plain"}'), "out.jsonl", ["tuned"])
    own = params.load()["data"]["system"]
    assert asked == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nTranslate.\nthe text<|im_end|>\n<|im_start|>assistant\n",
        f"<|im_start|>system\n{own}<|im_end|>\n<|im_start|>user\nplain<|im_end|>\n<|im_start|>assistant\n",
    ]
    assert rows_of("out.jsonl")[0] == row | {"prediction": '{"a": 1}', "parsed": {"a": 1}, "valid": True}


def test_standard_input_and_output_carry_only_the_rows(tuned, python):
    answer(lines_to("texts.txt", *TEXTS), "answers.jsonl", ["tuned"])
    given = "".join(text + "\n" for text in TEXTS)
    run = python(
        tuned,
        "-m",
        "stages.cli",
        "predict",
        "--constrain",
        "none",
        "--input",
        "-",
        "--output",
        "-",
        given=given,
        PYTHONUTF8="1",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == Path("answers.jsonl").read_text(encoding="utf-8")


@pytest.fixture
def greedy(monkeypatch):
    """Count the answered rows; interrupt the process, as Ctrl-C would, after `allowed` batches."""
    counted, real = Counter(), decoding.greedy

    def count(lm, prompts, *rest):
        if counted["batches"] == counted["allowed"]:
            raise KeyboardInterrupt
        counted.update(rows=len(prompts), batches=1)
        return real(lm, prompts, *rest)

    monkeypatch.setattr(decoding, "greedy", count)
    return counted


def interrupt_in_the_second_batch(source: str, greedy: Counter) -> Path:
    greedy.update(allowed=1)
    with pytest.raises(KeyboardInterrupt):
        answer(source, "out.jsonl", ["tuned"])
    assert not Path("out.jsonl").exists()
    (part,) = Path().glob(".out.jsonl.*.part")
    greedy.clear()
    greedy.update(allowed=99)
    return part


@pytest.mark.parametrize(("name", "failing"), [("out.jsonl", "line"), ("out.csv", "_write_table")])
def test_full_disk_is_named_and_answers_are_kept(tuned, monkeypatch, name, failing):
    source, called, real = lines_to("texts.txt", *TEXTS), Counter(), getattr(answers, failing)

    def full(*given):
        called.update(calls=1)
        if failing == "line" and called["calls"] <= BATCH:
            return real(*given)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(answers, failing, full)
    with pytest.raises(DataError, match=f"{name}: cannot write: No space left on device; make room and run again"):
        answer(source, name, ["tuned"])
    (part,) = Path().glob(f".{name}.*.part")
    assert len(part.read_bytes().splitlines()) == (BATCH if failing == "line" else len(TEXTS))


@pytest.mark.parametrize("whole_lines", [0, 1, 2], ids=["at a border", "within a line", "within a batch"])
def test_resumed_file_equals_uninterrupted(tuned, greedy, whole_lines):
    source = lines_to("texts.txt", *TEXTS)
    greedy.update(allowed=99)
    answer(source, "uninterrupted.jsonl", ["tuned"])
    greedy.clear()
    part = interrupt_in_the_second_batch(source, greedy)
    written = Path("uninterrupted.jsonl").read_bytes().splitlines(keepends=True)
    assert part.read_bytes() == b"".join(written[:BATCH])
    with part.open("ab") as file:  # a kill can leave part of a batch
        rest = b"".join(written[BATCH : BATCH + whole_lines])
        file.write(rest[:-7] if whole_lines == 1 else rest)
    answer(source, "out.jsonl", ["tuned"])
    assert greedy["rows"] == len(TEXTS) - BATCH
    assert Path("out.jsonl").read_bytes() == Path("uninterrupted.jsonl").read_bytes()
    assert not part.exists()


def test_resumed_table_equals_uninterrupted(tuned, greedy):
    source = lines_to("in.csv", "id,input", *(f'{i},"{text},\n"' for i, text in enumerate(TEXTS)))
    greedy.update(allowed=99)
    answer(source, "uninterrupted.csv", ["tuned"])
    greedy.clear()
    greedy.update(allowed=1)
    with pytest.raises(KeyboardInterrupt):
        answer(source, "out.csv", ["tuned"])
    greedy.clear()
    greedy.update(allowed=99)
    answer(source, "out.csv", ["tuned"])
    assert greedy["rows"] == len(TEXTS) - BATCH
    assert Path("out.csv").read_bytes() == Path("uninterrupted.csv").read_bytes()
    assert list(Path().glob(".*.part")) == []


def test_answers_of_another_adapter_are_not_resumed(tuned, greedy):
    from safetensors.torch import load_file, save_file

    source = lines_to("texts.txt", *TEXTS)
    interrupt_in_the_second_batch(source, greedy)
    stored = Path("models/42/adapter/adapter_model.safetensors")
    save_file({name: -weight for name, weight in load_file(stored).items()}, stored)
    answer(source, "out.jsonl", ["tuned"])
    assert greedy["rows"] == len(TEXTS)


def test_second_call_with_one_output_stops(tuned, greedy, monkeypatch):
    monkeypatch.setattr(locks, "TRIES", 1)
    greedy.update(allowed=99)
    source, refused = lines_to("texts.txt", *TEXTS), []

    def again(*arguments):
        for systems in (["tuned"], ["base_0shot"]):
            with pytest.raises(DataError, match=r"^out\.jsonl: process \d+ \(.*\) works on it; wait until it ends") as error:
                answer(source, "out.jsonl", systems)
            refused.append(error)
        return opened(*arguments)

    opened = opening.opened
    monkeypatch.setattr(opening, "opened", again)
    answer(source, "out.jsonl", ["tuned"])
    assert len(refused) == 2 and [row["input"] for row in rows_of("out.jsonl")] == TEXTS
    assert [path.name for path in Path().glob(".*")] == []


@pytest.mark.parametrize("change", ["one row too many", "one row too few"])
def test_rows_are_counted_before_the_file_is_kept(tuned, greedy, monkeypatch, change):
    greedy.update(allowed=99)
    real = predict._write

    def disturbed(file, *rest):
        count = real(file, *rest)
        file.flush()
        if change == "one row too many":
            file.write('{"input": "of another program"}\n')
        else:
            file.truncate(10)
        return count

    monkeypatch.setattr(predict, "_write", disturbed)
    with pytest.raises(DataError, match=r"^out\.jsonl: (11|1) answers to 10 texts, so another program wrote to \.out\.jsonl"):
        answer(lines_to("texts.txt", *TEXTS), "out.jsonl", ["tuned"])
    assert list(Path().glob("*out.jsonl*")) == list(Path().glob(".out.jsonl*")) == []


@pytest.mark.parametrize("place", ["params.yaml", "models/base.json", "models/42/adapter/adapter_config.json"])
def test_model_that_changes_while_it_is_loaded_is_refused(tuned, monkeypatch, place):
    def changing(*_):
        files.write_text(Path(place), Path(place).read_text() + "\n")
        raise RuntimeError("half of one model, half of another")

    monkeypatch.setattr(opening, "opened", changing)
    with pytest.raises(DataError, match="another process changed it while it was read"):
        answer(lines_to("texts.txt", *TEXTS), "out.jsonl", ["tuned"])
    assert list(Path().glob("*out.jsonl*")) == []


def test_two_systems_answer_in_one_file(tuned):
    source = lines_to("texts.txt", *TEXTS)
    for name in ("tuned", "base_0shot"):
        answer(source, f"{name}.jsonl", [name])
    answer(source, "both.jsonl", ["base_0shot", "tuned"])
    alone = {
        name: [{key: row[key] for key in ("prediction", "parsed", "valid")} for row in rows_of(f"{name}.jsonl")]
        for name in ("tuned", "base_0shot")
    }
    assert rows_of("both.jsonl") == [
        {"input": text, "base_0shot": base, "tuned": tuned}
        for text, base, tuned in zip(TEXTS, alone["base_0shot"], alone["tuned"], strict=True)
    ]
    assert alone["base_0shot"] != alone["tuned"]


def test_file_without_texts_gives_an_empty_file(tuned, capsys):
    answer(lines_to("texts.txt", "", " "), "out.jsonl", ["tuned"])
    assert Path("out.jsonl").read_bytes() == b""
    assert "holds no text, so there is nothing to answer" in capsys.readouterr().err


def test_missing_adapter_is_one_line_with_a_remedy(tuned, python):
    shutil.rmtree("models/42")
    lines_to("texts.txt", *TEXTS)
    run = python(tuned, "-m", "stages.cli", "predict", "--input", "texts.txt", "--output", "out.jsonl")
    assert run.returncode == 1
    message = "models/42/adapter does not exist; train it with `dvc repro` or fetch it with `dvc pull`"
    assert run.stderr == f"error: --system tuned_42: {message}\n"
    assert (run.stdout, [path.name for path in tuned.glob("*out*")]) == ("", [])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"text": "a"}', r"texts.jsonl:3: no column 'input'; There are 'text'"),
        ('{"input": 3}', r"texts.jsonl:3: 'input' must be text, got a number"),
        ("a line", r"texts.jsonl:3: not JSON"),
        ('{"input": "' + "a" * 9000 + '"}', r"texts.jsonl:3: 9\d{3} tokens for --system .*the model reads 40\d\d"),
    ],
)
def test_bad_line_is_named_and_nothing_is_written(tuned, bad, message):
    source = lines_to("texts.jsonl", '{"input": "a"}', '{"input": "b"}', bad, '{"input": "c"}')
    with pytest.raises(DataError, match=message):
        answer(source, "out.jsonl", ["tuned"])
    assert not Path("out.jsonl").exists()
    assert list(Path().glob(".*.part")) == []


@pytest.mark.parametrize("source", ["texts.txt", "-"])
def test_line_that_is_not_utf_8_is_named(tuned, monkeypatch, source):
    bad = "good\nM\xfcller\n".encode("latin-1")
    Path("texts.txt").write_bytes(bad)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bad)))
    with pytest.raises(DataError, match=f"^{source}:2: not UTF-8"):
        answer(source, "out.jsonl", ["tuned"])


def test_too_many_shots_and_no_system_are_refused(tuned):
    source = lines_to("texts.txt", "a")
    with pytest.raises(DataError, match=r"shots.jsonl: no such file; run `dvc repro format`"):
        answer(source, "out.jsonl", ["base_3shot"])
    Path("data/formatted").mkdir(parents=True, exist_ok=True)
    lines_to("data/formatted/shots.jsonl")
    with pytest.raises(DataError, match=r"--system base_3shot: .*shots.jsonl holds 0 examples; raise format.shots"):
        answer(source, "out.jsonl", ["base_3shot"])
    with pytest.raises(DataError, match="--system: names no system"):
        answer(source, "out.jsonl", [])
    with pytest.raises(DataError, match=r"^data: not a regular file, so it is not replaced"):
        answer(source, "data", ["tuned"])


@pytest.mark.parametrize("system", ["tune", "base_3", "base_xshot", "tuned_7", "base_passage", "tuned_42_passage"])
def test_unknown_system_is_refused_first(tuned, system):
    with pytest.raises(DataError, match=f"--system {system}: "):
        answer("nothing.txt", "out.jsonl", [system])


def test_missing_input_is_named(tuned):
    with pytest.raises(DataError, match=r"--input nothing\.txt: no such file"):
        answer("nothing.txt", "out.jsonl", ["tuned"])


@pytest.mark.parametrize("name", ["same.txt", "./same.txt", "link.txt"])
def test_answers_never_replace_the_texts(tuned, name):
    lines_to("same.txt", *TEXTS)
    Path("link.txt").symlink_to("same.txt")
    before = Path("same.txt").read_text()
    with pytest.raises(DataError, match=r"^--output .*same\.txt: is the file of --input"):
        answer(name, "same.txt", ["tuned"])
    assert Path("same.txt").read_text() == before


def test_a_pipe_is_not_replaced_by_answers(tuned):
    os.mkfifo("pipe")
    with pytest.raises(DataError, match=r"^pipe: not a regular file, so it is not replaced"):
        answer(lines_to("texts.txt", "a"), "pipe", ["tuned"])
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize("bad", ['{"input": 3}', '{"input": "\\ud83d"}', '{"input": "' + "a" * 9000 + '"}'])
def test_a_bad_last_line_is_found_before_the_first_answer(tuned, greedy, bad):
    greedy.update(allowed=99)
    objects = [json.dumps({"input": text}) for text in TEXTS]
    with pytest.raises(DataError, match=r"^texts\.jsonl:11: "):
        answer(lines_to("texts.jsonl", *objects, bad), "out.jsonl", ["tuned"])
    assert greedy["rows"] == 0


def write_schema(fields: dict) -> None:
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    files.write_json(Path("data/formatted/schemas.json"), {"": schema})


def test_objects_have_the_fields_of_the_training_rows(tuned):
    fields = {"nam": {"type": ["string", "null"]}, "tags": {"type": ["array", "null"]}}
    write_schema(fields)
    for name, how in (("default", {}), ("json", {"constrain": "json"})):
        predict.answer(lines_to("texts.txt", *TEXTS), f"{name}.jsonl", ["tuned"], **how)
        starts = {"".join(row["prediction"].split())[:5] for row in rows_of(f"{name}.jsonl")}
        assert all('{"nam'.startswith(start) for start in starts)


def test_constrained_answers_of_other_fields_are_not_resumed(tuned, monkeypatch):
    source, asked = lines_to("texts.txt", *TEXTS), Counter()

    def generate(lm, prompts, *_):
        asked.update(rows=len(prompts))
        if asked["rows"] == len(TEXTS):
            raise KeyboardInterrupt
        return [decoding.Completion("{}", True, 1) for _ in prompts]

    monkeypatch.setattr(decoding, "generate", generate)
    for field in "ab":
        write_schema({field: {"type": "number"}})
        asked.clear()
        with pytest.raises(KeyboardInterrupt):  # all rows are asked for again
            predict.answer(source, "out.jsonl", ["tuned"])


@pytest.mark.parametrize(
    ("think", "settings", "message"),
    [
        (True, (), "thoughts are not JSON"),
        (
            False,
            ("data=rows", "data.path=x.csv", "data.columns={input: question, output: answer}", "synthesis=none", *HEADLINE),
            "not JSON objects",
        ),
    ],
)
def test_json_is_refused_where_answers_are_none(room, adapter, monkeypatch, think, settings, message):
    monkeypatch.chdir(room(*settings))
    shutil.copytree(adapter, "models/42/adapter")
    with pytest.raises(DataError, match=f"^--constrain json: .*{message}"):
        predict.answer(lines_to("texts.txt", "q"), "out.jsonl", ["tuned"], think=think, constrain="json")


def test_texts_are_copied_where_the_parameters_say_so(room, adapter, monkeypatch):
    monkeypatch.chdir(room("predict.constrain=copied", "predict.max_new_tokens=40"))
    shutil.copytree(adapter, "models/42/adapter")
    source = lines_to("texts.txt", *TEXTS)
    with pytest.raises(DataError, match=r"^--constrain copied: .*schemas.json has no schema; run `dvc repro format` first"):
        predict.answer(source, "out.jsonl", ["tuned"])
    write_schema({"nam": {"type": ["string"]}})
    for name, how in (("default", {}), ("copied", {"constrain": "copied"}), ("json", {"constrain": "json"})):
        predict.answer(source, f"{name}.jsonl", ["tuned"], **how)
    assert rows_of("default.jsonl") == rows_of("copied.jsonl") != rows_of("json.jsonl")
    assert all(is_copy(json.loads(row["prediction"])["nam"], row["input"]) for row in rows_of("copied.jsonl"))


@pytest.mark.parametrize("think", [True, False])
def test_model_thinks_where_it_is_asked_to(tuned, monkeypatch, think):
    seen, real = [], chat.prompt_ids
    monkeypatch.setattr(thoughts, "marks", lambda _: thoughts.Marks("<think>", "</think>"))
    monkeypatch.setattr(chat, "prompt_ids", lambda tokenizer, messages: seen.append(messages) or real(tokenizer, messages))
    monkeypatch.setattr(decoding, "greedy", lambda *_: [decoding.Completion("<think>hm</think> a", True, 1)])
    answer(lines_to("texts.txt", "q"), "out.jsonl", ["tuned"], think=think)
    assert {messages[-1].thinks for messages in seen} == {think}
    (row,) = rows_of("out.jsonl")
    assert (row["prediction"], row.get("thoughts")) == (("a", "<think>hm</think> ") if think else ("<think>hm</think> a", None))


def test_template_without_thoughts_is_named(tuned):
    with pytest.raises(DataError, match=r"^--think: the chat template of .* writes no thoughts; leave it out"):
        answer(lines_to("texts.txt", "q"), "out.jsonl", ["tuned"], think=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": "\\ud800", "\\udfff": [1]}', {"a": "?", "?": [1]}),
        ('{"a": 1e999}', None),
        ('{"a": -1e999}', None),
        ('{"a": NaN}', None),
        ('{"a": ' + "1" * 5000 + "}", None),
        ('{"a": ' + "[" * 3000 + "]" * 3000 + "}", None),
        ('{"\u009b2J": "\u202ea\x7f"}', {"\u009b2J": "\u202ea\x7f"}),
    ],
    ids=["half pairs", "infinity", "minus infinity", "nan", "digits", "nested", "terminal"],
)
def test_hostile_answer_is_written_as_json(tuned, monkeypatch, text, expected):
    monkeypatch.setattr(decoding, "greedy", lambda lm, prompts, *_: [decoding.Completion(text, True, 1) for _ in prompts])
    answer(lines_to("texts.txt", "a"), "out.jsonl", ["tuned"])
    (row,) = rows_of("out.jsonl")
    assert (row["prediction"], row["parsed"], row["valid"]) == (text, expected, expected is not None)
    assert not CONTROL.search(Path("out.jsonl").read_text(encoding="utf-8"))


@pytest.mark.parametrize("system", ["aligned", "aligned_42"])
def test_aligned_model_answers_only_where_the_run_has_one(system, tuned, adapter):
    lines_to("texts.txt", "one")
    with pytest.raises(DataError, match=r"--system aligned_42: align\.method = none makes no model that answers; align one"):
        answer("texts.txt", "answers.jsonl", [system])
    compose.compose(["experiment=smoke", "runtime.threads=1", "preference=verifier", "align=dpo"], params.PARAMS)
    with pytest.raises(DataError, match="--system aligned_42: models/42/aligned does not exist"):
        answer("texts.txt", "answers.jsonl", [system])
    shutil.copytree(adapter, "models/42/aligned")
    answer("texts.txt", "answers.jsonl", [system])
    assert len(rows_of("answers.jsonl")) == 1
