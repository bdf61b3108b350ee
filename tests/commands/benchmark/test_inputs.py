"""What `tunetrail benchmark run` measured is known by its hashes: the base, the adapter, and the answers of the system."""

import hashlib
from pathlib import Path

import pytest

from stages import files
from stages.commands.benchmark import harness
from stages.errors import DataError

BASE, ADAPTER, ANSWERS = "models/base.json", "models/42/adapter/adapter_model.safetensors", "data/predictions/tuned_42.jsonl"


@pytest.fixture(autouse=True)
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (BASE, ADAPTER, ANSWERS, "data/predictions/base_3shot.jsonl"):
        files.write_text(Path(path), path)


@pytest.mark.parametrize(("system", "read"), [("base", [BASE]), ("tuned_42", [BASE, ADAPTER, ANSWERS])])
def test_system_is_known_by_the_hashes_of_its_files(system, read):
    assert harness.inputs_of(system) == {path: hashlib.md5(path.encode()).hexdigest() for path in read}


def test_adapter_without_answers_is_refused():
    Path(ANSWERS).unlink()
    with pytest.raises(DataError, match=r"^data/predictions/tuned_42\.jsonl: no such file; run `dvc repro` first"):
        harness.inputs_of("tuned_42")
