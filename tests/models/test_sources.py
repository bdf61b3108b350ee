"""Base models of any source: equal bytes give equal manifests, and changed or incomplete files are refused."""

import json
import re
import shutil
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.fetch import __main__ as fetch
from stages.models import sources
from stages.models.manifest import MANIFEST, read_manifest
from stages.params import PathModel
from tests.fixtures.fetching import AUTHORED, left_in, the_line

pytestmark = pytest.mark.model


def test_random_model_is_reproducible(random_model, manifest, cache):
    import torch

    torch.manual_seed(99)
    again = sources.fetch(random_model)
    assert again == manifest
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(again.files)
    assert sources.ensure(again).parent == cache


def test_manifest_counts_the_stored_weights(manifest, weights):
    tied, layer = 259 * 32, 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64 + 2 * 32
    assert manifest.parameters == tied + 2 * layer + 32
    assert manifest.weight_bytes == (weights / "model.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_file_that_differs_from_the_manifest_is_refused(manifest, weights, cache, name):
    folder = shutil.copytree(weights, cache / weights.name)
    assert sources.ensure(manifest) == folder
    with (folder / name).open("r+b") as file:
        file.write(b"#")
    with pytest.raises(DataError, match=f"{folder / name}: .*not the file that models/base.json pins; delete {folder}"):
        sources.ensure(manifest)


def test_missing_file_is_refused_and_missing_folder_refetched(manifest, weights, cache):
    folder = shutil.copytree(weights, cache / weights.name)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json: missing"):
        sources.ensure(manifest)
    shutil.rmtree(folder)
    assert sources.ensure(manifest) == folder
    assert (folder / "tokenizer.json").is_file()


def test_missing_manifest_names_the_stage_to_run(tmp_path):
    with pytest.raises(DataError, match=r"base\.json: no such file; run `dvc repro fetch`"):
        read_manifest(tmp_path / "base.json")


FETCH_WITHIN = """
import resource, sys
from stages import stage
from stages.fetch.__main__ import main

sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
stage.run(main)
"""


@pytest.mark.parametrize("kilobytes", [1, 32], ids=["at the tokenizer", "at the weights"])
def test_full_disk_ends_with_one_line_and_no_model(room, warm, tmp_path, kilobytes):
    root = room(*AUTHORED)
    (root / MANIFEST).unlink()
    run = warm(root, "-c", FETCH_WITHIN.format(1024 * kilobytes), TUNETRAIL_CACHE=str(tmp_path / "cache"))
    assert re.search(r"cannot store the model|a file cannot be stored", the_line(run))
    assert "too large" in run.stderr
    assert left_in(tmp_path / "cache") == []
    assert not (root / MANIFEST).exists() and not (root / "data/raw/train.jsonl").exists()


@pytest.fixture
def mine(weights, tmp_path) -> PathModel:
    folder = shutil.copytree(weights, tmp_path / "mine")
    return PathModel(source="path", name="mine", path=str(folder), license="none")


def test_model_folder_is_used_in_place(mine, manifest, cache):
    fetched = sources.fetch(mine)
    assert fetched.files == manifest.files
    assert sources.ensure(fetched) == Path(mine.path)
    assert left_in(cache) == []


def test_changed_model_folder_is_refused(mine):
    fetched = sources.fetch(mine)
    with (Path(mine.path) / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"config\.json: .*run `dvc repro -f fetch`"):
        sources.ensure(fetched)


WITHOUT_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def without(name: str):
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def emptied(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("tokenizer.json"), "has no tokenizer"),
        (without("config.json"), "has no config.json"),
        (pickled, r"has no \*.safetensors; other weight formats can run code"),
        (cut_short, "model.safetensors: damaged"),
        (emptied, "model.safetensors: damaged"),
        (shutil.rmtree, "no such folder"),
    ],
    ids=["no tokenizer", "no config", "pickle only", "cut short", "empty", "no folder"],
)
def test_unusable_model_folder_is_refused_by_name(mine, spoil, message):
    spoil(Path(mine.path))
    with pytest.raises(DataError, match=message) as refused:
        sources.fetch(mine)
    assert mine.path in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", None, "has no tokenizer"),
        ("tokenizer.json", "{", "its config, tokenizer or chat template cannot be used"),
        ("tokenizer.json", "{}", "its config, tokenizer or chat template cannot be used"),
        ("config.json", "{", "its config, tokenizer or chat template cannot be used"),
        ("chat_template.jinja", "{{ bad jinja {% ", "its chat template cannot write the chat"),
        ("chat_template.jinja", "", "this model has no chat template"),
        ("chat_template.jinja", WITHOUT_SYSTEM, "its chat template does not write turns of the role system"),
    ],
)
def test_fetch_of_an_unusable_folder_writes_nothing(room, monkeypatch, mine, name, text, message):
    if text is None:
        (Path(mine.path) / name).unlink()
    else:
        (Path(mine.path) / name).write_text(text)
    root = room("model=path", f"model.path={mine.path}", *AUTHORED)
    before = (root / MANIFEST).read_bytes()
    monkeypatch.chdir(root)
    with pytest.raises(DataError, match=re.escape(f"{mine.path}: {message}")):
        fetch.main()
    assert (root / MANIFEST).read_bytes() == before and not (root / "data/raw/train.jsonl").exists()


@pytest.mark.parametrize("name", ["pad_token", "eos_token"])
def test_token_that_the_model_has_not_is_refused(room, monkeypatch, mine, name):
    path = Path(mine.path) / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: "[NEW]"}))
    monkeypatch.chdir(room("model=path", f"model.path={mine.path}", *AUTHORED))
    with pytest.raises(DataError, match=rf"its {name} '\[NEW\]' has the id \d+, but the model has \d+ tokens; name"):
        fetch.main()


def test_two_processes_may_store_one_model(random_model, manifest, cache, monkeypatch):
    from stages.models import random

    make, stored = random.make, []

    def during(model, folder):
        monkeypatch.setattr(random, "make", make)
        stored.append(sources.fetch(random_model))  # another process is faster
        make(model, folder)

    monkeypatch.setattr(random, "make", during)
    assert sources.fetch(random_model) == stored[0] == manifest
    assert [path.name for path in left_in(cache)] == [sources.folder_of(random_model).name]
