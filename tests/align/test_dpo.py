"""DPO: starts at the reference, changes the adapter, stops by the task, and resumes to the same bytes."""

import math
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import Trainer

from stages import files, records
from stages.errors import DataError
from stages.models.manifest import MANIFEST
from stages.preferences.records import Pair, Sample
from tests.fixtures.aligning import Killed, align, align_killed, cost, figures
from tests.fixtures.training import contents, saved
from tests.preferences.conftest import row

pytestmark = pytest.mark.model

DPO = ["align=dpo", "align.loss_type=[sigmoid]", "align.loss_weights=[1.0]"]


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory) -> Path:
    return align(prepared(tmp_path_factory.mktemp("dpo") / "root", *DPO))


def killed(*_: object) -> None:
    raise Killed


def weights(root: Path, folder: str):
    return load_file(root / "models/42" / folder / "adapter_model.safetensors")


def test_model_starts_as_its_own_reference(finished) -> None:
    first = figures(finished)
    assert first["log"][0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    look = first["looks"][0]
    assert look == {"step": 0, "task": 0, "right": 0, "stop_rate": 0, "kl": 0, "pair_accuracy": 0.5, "margin": 0}


def test_adapter_learns_pairs_in_fp32(finished) -> None:
    before, after = weights(finished, "adapter"), weights(finished, "aligned")
    assert before.keys() == after.keys()
    assert all((before[name] != after[name]).all() or "lora_A" in name for name in before)
    assert {str(weight.dtype) for weight in after.values()} == {"torch.float32"}
    found = figures(finished)
    assert [entry["step"] for entry in found["log"]] == [1, 2, 3, 4]
    assert [look["step"] for look in found["looks"]] == [0, 2, 4]
    assert found["looks"][-1]["kl"] > 0 and found["looks"][-1]["pair_accuracy"] == 1.0
    assert (found["pairs"], found["held_out"], found["kept_step"]) == (8, 2, 4)
    assert (cost(finished)["resumed_at_step"], saved(finished)) == (0, [])


def test_no_later_round_leaves_an_empty_folder(finished, furnish, tmp_path) -> None:
    furnish(tmp_path / "none")
    for root in (finished, align(tmp_path / "none")):
        assert list((root / "data/rounds/42").iterdir()) == []


def test_resumed_run_equals_uninterrupted(finished, prepared, tmp_path) -> None:
    killed = align_killed(prepared(tmp_path / "killed", *DPO))
    assert contents(killed / "models/42/aligned") == contents(finished / "models/42/aligned")
    assert figures(killed) == figures(finished)


def test_looks_take_rows_whatever_their_order() -> None:
    """Rows of a kind stand together in the split, so the first ones may all be of one kind."""
    from stages.align import looks

    rows = [row(n) for n in range(8)]
    assert looks.validation(rows, 3) == looks.validation(rows[::-1], 3) != rows[:3]


def test_early_stopping_keeps_the_best_look(prepared, monkeypatch, tmp_path) -> None:
    from stages.align import looks

    calls, look = [], looks.at_answers
    monkeypatch.setattr(looks, "at_answers", lambda *given: calls.append(given) or look(*given))
    root = align(prepared(tmp_path / "early", *DPO, "align.early_stopping_patience=1", "align.max_steps=8"))
    found = figures(root)
    assert len(calls) == len(found["looks"]) == 2
    assert (found["steps"], found["kept_step"]) == (2, 0)  # no answer of the tiny model is ever right
    assert (
        contents(root / "models/42/aligned").items()
        >= {"adapter_model.safetensors": (root / "models/42/adapter/adapter_model.safetensors").read_bytes()}.items()
    )


def test_later_rounds_sample_again_and_are_kept(prepared, monkeypatch, tmp_path) -> None:
    from stages.align import run

    shown: list[str] = []

    def track(_: object, name: str) -> None:
        shown.append(os.environ.setdefault("TENSORBOARD_LOGGING_DIR", name))  # a variable of the user stays

    monkeypatch.setattr(run, "prepare_tracker", track)
    root = align(
        prepared(
            tmp_path / "rounds",
            *DPO,
            "align.rounds=2",
            "align.max_steps=2",
            "align.loss_type=[sigmoid,sft]",
            "align.loss_weights=[1.0,0.2]",
        )
    )
    found = figures(root)
    assert [each["last_step"] for each in found["rounds"]] == [2, 4]
    assert [each["pairs"] for each in found["rounds"]] == [8, 3]
    assert [look["step"] for look in found["looks"]] == [0, 2, 4]
    (kept,) = root.glob(".tunetrail/checkpoints/*")
    assert sorted(path.name for path in kept.iterdir()) == ["round-1", "round-2"]
    assert shown == [f"{kept.name}-round-1", f"{kept.name}-round-2"] and "TENSORBOARD_LOGGING_DIR" not in os.environ
    shutil.rmtree(kept / "round-2")
    first, sampled = contents(root / "models/42/aligned"), contents(root / "data/rounds/42")
    assert sorted(sampled) == ["round-2/pairs.jsonl", "round-2/samples.jsonl"]
    pairs = list(records.read(root / "data/rounds/42/round-2/pairs.jsonl", Pair))
    samples = {sample.id for sample in records.read(root / "data/rounds/42/round-2/samples.jsonl", Sample)}
    assert (len(pairs), len(samples)) == (3, 6) and all(samples & set(pair.parents) for pair in pairs)
    spent = files.read_json(kept / "round-1/round.json")
    assert 0 < spent["seconds"] < cost(root)["seconds"]
    files.write_json(kept / "round-1/round.json", spent | {"seconds": 1000.0})
    written = (kept / "round-1/round.json").stat().st_mtime_ns
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "training_step", killed)
        align(root)
    assert sorted(path.name for path in (kept / "round-2").glob("*.jsonl")) == ["pairs.jsonl", "samples.jsonl"]
    align(root)
    assert (contents(root / "models/42/aligned"), contents(root / "data/rounds/42")) == (first, sampled)
    assert figures(root) == found
    assert (kept / "round-1/round.json").stat().st_mtime_ns == written
    assert 1000 < cost(root)["seconds"] < 1300  # with those of the kept round


def test_whole_model_and_encoder_decoder_are_refused(prepared, seq2seq, tmp_path) -> None:
    root = prepared(tmp_path / "t5", *DPO)
    files.write_text(root / MANIFEST, seq2seq.model_dump_json())
    with pytest.raises(DataError, match=r"align.method = dpo: .* this model is an encoder-decoder; use align=none"):
        align(root)
    (root / "models/42/adapter/adapter_config.json").unlink()
    with pytest.raises(DataError, match=r"models/42/adapter holds no adapter, .*; use adapter=lora"):
        align(root)


def test_held_out_pairs_alone_are_refused(prepared, pairs, tmp_path) -> None:
    root = prepared(tmp_path / "held", *DPO)
    records.write(root / "data/pairs/42/pairs.jsonl", pairs[8:])
    with pytest.raises(DataError, match=r"data/pairs/42: no pair to train on, 2 held out; raise preference.prompts"):
        align(root)
