"""tunetrail predict with several adapters: one base is held in memory, and each answers as if it had been loaded alone."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import files
from stages.commands.predict import command as predict
from stages.errors import DataError
from stages.models import loading
from stages.models.exchange import Exchange
from stages.models.tuned import load_tuned

pytestmark = pytest.mark.model

answer = partial(predict.answer, systems=(), constrain="none")  # tiny models write no JSON


@pytest.fixture
def users(room, adapter, monkeypatch) -> Path:
    """Work in a repository with adapters of three users, the last of which cannot be exchanged: it has biases."""
    monkeypatch.chdir(room("predict.batch_size=8", "predict.max_new_tokens=6"))
    for number, name in enumerate(("ann", "ben", "cho")):
        folder = Path("adapters/users", name)
        shutil.copytree(adapter, folder)
        path = folder / "adapter_model.safetensors"
        save_file({key: weight.roll(number) for key, weight in load_file(path).items()}, path)
    config = Path("adapters/users/cho/adapter_config.json")
    files.write_json(config, files.read_json(config) | {"bias": "lora_only"})
    return Path("adapters/users")


def rows_of(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write(*rows: tuple[str, object]) -> str:
    Path("in.jsonl").write_text("".join(json.dumps({"user": user, "input": text}) + "\n" for text, user in rows))
    return "in.jsonl"


def test_exchanged_adapters_equal_freshly_loaded_ones(users, weights, tokenizer):
    shared = Exchange(loading.LanguageModel(loading.load_base(weights, "cpu"), tokenizer))
    asked = torch.arange(3, 43).reshape(2, 20)
    for name in ("ann", None, "ben", "ann", "ann"):
        fresh = load_tuned(weights, users / name, "cpu") if name else loading.load_base(weights, "cpu")
        with torch.no_grad():
            found, expected = shared.use(users / name if name else None).model(asked), fresh(asked)
        assert torch.equal(found.logits, expected.logits)


def test_each_adapter_answers_as_if_alone(users, monkeypatch):
    source, opened, real = write(*((f"text {i}", "x") for i in range(6))), [], loading.load_base
    monkeypatch.setattr(loading, "load_base", lambda *given, **how: opened.append(1) or real(*given, **how))
    folders = [users / name for name in ("ann", "ben")]
    for folder in folders:
        answer(source, f"{folder.name}.jsonl", adapters=[folder])
    answer(source, "both.jsonl", adapters=[*folders, users / "cho"])
    assert opened == [1]
    for folder in folders:
        alone = [row["prediction"] for row in rows_of(f"{folder.name}.jsonl")]
        assert [row[str(folder)]["prediction"] for row in rows_of("both.jsonl")] == alone


def test_each_row_is_answered_by_the_adapter_that_it_names(users):
    names = ["ann", "ben", "ben", "cho", "ann", "ben"]
    asked = [(f"text {i}", name) for i, name in enumerate(names)]
    answer(write(*asked), "out.jsonl", column="user")
    found = rows_of("out.jsonl")
    assert [(row["input"], row["user"]) for row in found] == asked
    assert list(found[0]) == ["user", "input", "prediction", "parsed", "valid"]
    for name in set(names):
        answer(write(*(row for row in asked if row[1] == name)), f"{name}.jsonl", adapters=[users / name])
        assert rows_of(f"{name}.jsonl") == [row for row in found if row["user"] == name]
    assert len({row["prediction"] for row in found}) >= 3


UNNAMED = [
    ("../none", r"'\.\./none' is not a name; give that"),
    ("ann/../ben", "is not a name"),
    (".", "is not a name"),
    (7, "is not a name"),
    ("", "names no adapter; fill it in"),
    (None, "names no adapter"),
    ("dan", "adapters/users/dan: no such folder; store one with `tunetrail keep users/dan`"),
]


def test_row_that_names_no_adapter_is_refused(users):
    for user, message in UNNAMED:
        with pytest.raises(DataError, match=f"^in.jsonl:2: --adapter-column user: .*{message}"):
            answer(write(("a", "ann"), ("b", user)), "out.jsonl", column="user")
    with pytest.raises(DataError, match=r"^in\.jsonl:1: --adapter-column wrong: no such column; there are .*user"):
        answer(write(("a", "ann")), "out.jsonl", column="wrong")
    assert not Path("out.jsonl").exists()


def test_damaged_adapter_is_refused_before_the_first_answer(users):
    (users / "ben/adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"^adapters/users/ben/adapter_model\.safetensors: damaged"):
        answer(write(("a", "ann"), ("b", "ben")), "out.jsonl", column="user")
    with pytest.raises(DataError, match=r"^--adapter-column: .* --input must be a file"):
        answer("-", "-", column="user")
