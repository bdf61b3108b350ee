"""tunetrail plan: memory and time from a trial run, and which option makes a run fit."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from stages import params, records
from stages.commands.plan import command, machine, measures, probe
from stages.commands.plan.machine import Probe
from stages.errors import DataError
from stages.params import compose
from stages.records import Document

pytestmark = pytest.mark.model

GIB = 2**30
PROBE = Probe(
    parameters=10**9,
    trained=10**6,
    libraries=GIB // 2,
    weights=GIB,
    training=GIB // 2,
    peak=10 * GIB,
    rows=4,
    seconds=90.0,
    units=30,
    unit_seconds=2.5,
)


@pytest.fixture
def planned(room, monkeypatch) -> Path:
    root = room("quantization=nf4", "synthesis=none", "train.eval_steps=2", "predict.max_new_tokens=40")
    monkeypatch.chdir(root)
    for split in ("test", "shots"):
        (root / f"data/formatted/{split}.jsonl").write_bytes((root / "data/formatted/train.jsonl").read_bytes())
    return root


@pytest.mark.parametrize(
    ("what", "free", "overrides", "advice"),
    [
        ("train", 10, [], ""),
        ("train", 7, [], "train: needs 10.0 GiB, and 7.0 are free; set runtime.micro_batch_size=2 or train.gradient_check"),
        ("train", 3, ["train.gradient_checkpointing=true"], "set a smaller model, or a smaller format.max_length"),
        ("base_0shot", 8, [], "base_0shot: needs 10.0 GiB, and 8.0 are free; set predict.batch_size=3"),
        ("tuned", 2, [], "set a smaller model, or a smaller format.max_length"),
    ],
)
def test_advice_names_the_rows_that_fit(options, what, free, overrides, advice):
    given = machine.fitting(options(*overrides), what, PROBE, free * GIB)
    assert advice in given and bool(advice) == bool(given)


def test_trial_runs_measure_memory_and_time_of_a_run(planned, monkeypatch):
    monkeypatch.setattr(machine, "_probe", lambda what, rows: probe.measured(params.check_file(), what, str(rows)))
    needs = machine.plan(params.check_file(), Console())
    assert [need.what for need in needs] == ["train", "base_0shot", "base_1shot", "tuned"]
    for need in needs:
        assert 0 < need.probe.weights < need.probe.peak < need.free
        assert 0 < need.probe.units * need.probe.unit_seconds < need.probe.seconds
        assert len(need.figures()) == len(machine.LABELS)
    train, base, _, tuned = (need.probe for need in needs)
    assert (train.trained > 0, train.training >= 4 * 4 * train.trained, base.trained) == (True, True, 0)
    assert tuned.units < base.units == params.check_file().predict.max_new_tokens
    held = machine.itemsize("cpu")  # the file is in bf16
    assert tuned.weights - base.weights == (2 + held) * base.parameters  # read from a file and held, for the agreement


def test_documents_get_a_trial_run_of_their_own(room, monkeypatch):
    texts = ["data=handbook", "synthesis=self_qa", "report.headline=token_f1", "pretrain=documents", "pretrain.batch_size=4"]
    root = room(*texts)
    monkeypatch.chdir(root)
    records.write(
        root / "data/raw/documents.jsonl",
        [Document(text=f"Office {n}. " * (n + 1), kind="document", source=f"{n}.md") for n in range(24)],
    )
    p, tried = params.check_file(), []
    monkeypatch.setattr(machine, "_probe", lambda what, rows: tried.append(what) or PROBE)
    monkeypatch.setattr(machine, "_advice", lambda *_: "")
    machine.plan(p, Console())
    assert tried[:2] == ["pretrain", "train"]
    assert 0 < probe.measured(p, "pretrain", "4").units == 6  # steps of 23 documents


def test_rows_that_do_not_fit_are_counted_from_one(planned, monkeypatch):
    tried = []

    def killed(what: str, rows: int) -> Probe | None:
        tried.append((what, rows))
        return None if rows > 1 else PROBE

    monkeypatch.setattr(machine, "_probe", killed)
    needs = machine.plan(params.check_file(), Console())
    assert tried[:2] == [("train", 4), ("train", 1)]
    assert needs[0].probe.peak == 2 * GIB + 4 * 8 * GIB
    assert needs[0].advice.startswith("train: needs 34.0 GiB")
    monkeypatch.setattr(machine, "_probe", lambda *_: None)
    with pytest.raises(DataError, match=r"train: does not fit, not even with one row at a time; set train.gradient_checkp"):
        machine.plan(params.check_file(), Console())


@pytest.mark.parametrize("code", [137, -9])
def test_a_trial_run_that_is_killed_does_not_fit(monkeypatch, code):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, "", ""))
    assert machine._probe("train", 4) is None


def test_a_trial_run_that_fails_says_why(planned, warm, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(warm.python))
    monkeypatch.setenv("PYTHONPATH", str(compose.ROOT))
    (planned / "data/formatted/train.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"train: the trial run failed: data/formatted/train.jsonl:1"):
        machine._probe("train", 4)


def test_weights_larger_than_the_memory_are_not_tried(planned, monkeypatch):
    monkeypatch.setattr(machine.device, "free_memory", lambda _: 1000)
    with pytest.raises(DataError, match=r"the weights take \d+\.\d GiB, and 0\.0 are free; choose a smaller model"):
        machine.plan(params.check_file(), Console())


def test_plan_shows_requests_before_anything_is_formatted(planned, capsys):
    (planned / "data/raw/seeds.jsonl").touch()
    (planned / "data/formatted/train.jsonl").unlink()
    command.show()
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing is requested" in shown and "data/formatted/train.jsonl is missing; run `dvc repro format` first" in shown


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("CUDA out of memory.")]
)
def test_an_allocation_that_fails_is_too_large(planned, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(probe, "measured", full)
    monkeypatch.setattr(probe, "_volunteer", lambda: None)
    monkeypatch.setattr(sys, "argv", ["probe", "train", "4"])
    with pytest.raises(SystemExit) as ended:
        probe.main()
    assert ended.value.code == machine.TOO_LARGE


@pytest.mark.parametrize(
    ("overrides", "tried", "unknown"),
    [
        ([], [], []),
        (["preference=verifier", "align=dpo"], ["pairs", "align", "aligned"], []),
        (["preference=judge", "align=reward"], ["pairs", "align"], ["the judge's verdicts in pairs"]),
        (["align=grpo"], ["align", "aligned"], []),
        (
            ["align=grpo", "align.rewards.reward_model=1.0", "align.reward_model=adapters/mine"],
            ["aligned"],
            ["align (a second model scores its answers"],
        ),
        (
            ["data=handbook", "synthesis=self_qa", "report.headline=token_f1", "predict.passage=true"],
            [],
            ["answers with a passage (predict.passage)"],
        ),
    ],
)
def test_stages_are_tried_or_named_with_the_reason(options, overrides, tried, unknown):
    p = options(*overrides)
    assert machine._jobs(p).keys() - machine._jobs(options()).keys() == set(tried)
    named = command.not_estimated(p)
    assert [part.startswith(start) for part, start in zip(named, unknown, strict=True)] == [True] * len(unknown)


@pytest.mark.parametrize(
    ("what", "overrides", "advice"),
    [
        ("pairs", ["preference=verifier"], "set preference.batch_size=2"),
        ("pairs", ["preference=file"], "set a smaller model, or a smaller format.max_length"),
        ("align", ["preference=verifier", "align=dpo"], "runtime.micro_batch_size=2 or align.gradient_checkpointing=true"),
        ("aligned", ["preference=verifier", "align=dpo"], "set predict.batch_size=2"),
    ],
)
def test_advice_names_options_of_later_stages(options, what, overrides, advice):
    assert advice in machine.fitting(options(*overrides), what, PROBE, 7 * GIB)


def test_kto_is_tried_with_two_rows_at_least(options, monkeypatch):
    p = options("preference=verifier", "align=kto")
    monkeypatch.setattr(machine, "_probe", lambda _, rows: PROBE if rows == 2 else None)
    need = machine._need(p, "align", 1, 7 * GIB)
    assert need.probe.peak == 2 * GIB + 8 * GIB * p.runtime.micro_batch_size // 2
    assert need.advice and "micro_batch_size" not in need.advice  # one row would fit, but is refused


def test_looks_do_not_grow_with_the_rows(options, monkeypatch):
    p, looking = options("preference=verifier", "align=dpo"), replace(PROBE, peak=3 * GIB, looks=4 * GIB)
    monkeypatch.setattr(machine, "_probe", lambda _, rows: looking if rows == 1 else None)
    need = machine._need(p, "align", 1, 6 * GIB)
    assert (need.probe.peak, need.probe.most, need.advice) == (6 * GIB, 6 * GIB, "")
    given = machine.fitting(p, "align", need.probe, 5 * GIB)
    assert given == "align: needs 6.0 GiB, and 5.0 are free; set a smaller model, or a smaller format.max_length"
    assert "runtime.micro_batch_size=2" in machine.fitting(p, "align", replace(need.probe, looks=2 * GIB), 5 * GIB)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel cannot forget a peak")
def test_peak_of_steps_begins_below_that_of_looks():
    memory = machine.device.Memory("cpu")
    held = b"x" * 2**28
    high = memory.peak()
    del held
    measures.forget_peak()
    assert memory.peak() < high - 2**27


ALIGNED = ["preference=verifier", "preference.prompts=9", "preference.samples=2", "preference.batch_size=6"]


@pytest.fixture(scope="module")
def later(furnish, tmp_path_factory) -> Callable[..., Probe]:
    """Return a function that tries a stage after training, in a folder in which only `format` has run."""

    def tried(what: str, rows: str, *overrides: str) -> Probe:
        root = tmp_path_factory.mktemp("later") / "root"
        furnish(root, "quantization=none", *ALIGNED, "preference.sampling.max_new_tokens=24", *overrides)
        (root / "data/formatted/test.jsonl").write_bytes(b"")
        with contextlib.chdir(root):
            before = sorted(root.rglob("*"))
            found = probe.measured(params.check_file(), what, rows)
            assert sorted(root.rglob("*")) == before
        return found

    return tried


def test_trial_of_pairs_counts_samples_and_reference(later):
    found = later("pairs", "6", "align=dpo")
    assert (found.rows, found.trained, found.training) == (6, 0, 0)
    assert 3 <= found.units <= 3 * 24  # 18 samples in batches of 6
    assert 0 < found.units * found.unit_seconds < found.seconds and 0 < found.weights < found.peak


@pytest.mark.parametrize(("method", "steps"), [("dpo", 4), ("kto", 4), ("reward", 2), ("grpo", 5)])
def test_trial_of_align_uses_the_method_s_trainer(later, method, steps):
    given = ["align.batch_size=4", "align.warmup_steps=0", "align.max_steps=null", "align.num_train_epochs=1.0"]
    own = {"dpo": ["align.rounds=2"], "grpo": ["align.num_generations=2", "align.max_completion_length=6", "align.prompts=9"]}
    found = later("align", "2", f"align={method}", *given, *own.get(method, []))
    assert (found.rows, found.units) == (2, steps)
    assert found.training >= 4 * 4 * found.trained > 0  # weights, gradients and two moments in fp32
    assert 0 < found.units * found.unit_seconds < found.seconds and 0 < found.weights < found.peak
