"""Task files in the folder of `tunetrail benchmark run`: they can run Python code, so only exported ones are read."""

from pathlib import Path

import pytest

from stages.commands.benchmark import harness
from stages.errors import DataError
from stages.params import PARAMS, compose

STOPS, METRICS = ["<|im_end|>", "a\"b\n'", "!function os.system"], ["exact_match", "token_f1", "name_exact"]
RUN = "process_results: !function os.system"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    compose.compose(["experiment=smoke"], PARAMS)
    (tmp_path / "tasks").mkdir()
    return Path("tasks")


def exported(folder: Path, closed: bool = False) -> str:
    rows = (folder / "mine.jsonl").resolve()
    text = harness._task(rows, closed, [] if closed else STOPS, 0 if closed else 64, [] if closed else METRICS)
    (folder / "mine.yaml").write_text(text)
    return text


@pytest.mark.parametrize("closed", [False, True])
def test_exported_task_is_no_program(folder, closed):
    exported(folder, closed)
    (folder / "base.json").write_text("{}")
    assert harness.programs(folder) == []


def test_function_of_the_exported_task_exists(folder):
    (line,) = [line for line in exported(folder).splitlines() if line.startswith("process_results: ")]
    assert line == f"process_results: !function {harness.__name__}.{harness.process_results.__name__}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("process_results: !function stages.commands.benchmark.harness.process_results", RUN),
        ("metadata:", f"{RUN}\nmetadata:"),
        ("doc_to_text: prompt", "doc_to_text: '{{ cycler.__init__.__globals__ }}'"),
        ("dataset_path: json", "dataset_path: evil/dataset"),
        ("test_split: test", "include: ../other.yaml\ntest_split: test"),
        ("max_gen_toks: 64", "max_gen_toks: !function os.getpid"),
        ('until: ["', 'until: [!function os.getpid, "'),
        ('metric: "token_f1", ', 'metric: "token_f1", hf_evaluate: true, '),
        ("mine.jsonl", "other.jsonl"),
        ('task: "mine"', f'task: "mine"\n{RUN}'),
    ],
)
def test_altered_task_is_a_program(folder, old, new):
    text = exported(folder)
    assert old in text
    (folder / "mine.yaml").write_text(text.replace(old, new, 1))
    assert harness.programs(folder) == [folder / "mine.yaml"]


@pytest.mark.parametrize("name", ["other.yaml", "sub/other.yaml", "stages/commands/benchmark/harness.py", "utils.py"])
def test_foreign_file_is_refused_before_it_is_read(folder, name, monkeypatch):
    for module in ("lm_eval", "lm_eval.models", "lm_eval.models.huggingface", "lm_eval.tasks"):
        stand_in = type("Module", (), {"simple_evaluate": 0, "HFLM": 0, "TaskManager": lambda **_: pytest.fail("it was read")})
        monkeypatch.setitem(__import__("sys").modules, module, stand_in)
    exported(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(RUN)
    with pytest.raises(DataError, match=rf"^tasks/{name}: can run Python code.*evaluate\.allow_code=true"):
        harness.run(["mine"], ["base"], None, None, False, folder)
