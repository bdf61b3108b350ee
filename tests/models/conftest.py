"""A tiny random model in a cache folder of the tests' own, and folders that look like the repository to a stage."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import compose, models, params, records
from stages.records import Example, Message

ROOT = compose.ROOT
QUIET = ["runtime.threads=1"]


def chat_row(question: str, answer: str, *earlier: str, system: str = "", source: str = "s") -> Example:
    """An example; `earlier` alternates user and assistant turns."""
    turns = [Message(role="system", content=system)] if system else []
    turns += [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(earlier)]
    turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    return Example(kind="text", messages=tuple(turns), source=source)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNETRAIL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.delenv("DVC_ROOT", raising=False)
        yield


@pytest.fixture(scope="session")
def random_model() -> params.RandomModel:
    return params.RandomModel(
        source="random", name="random-tiny", architecture="llama", hidden_size=32, layers=2, license="none"
    )


@pytest.fixture(scope="session")
def manifest(random_model) -> models.Manifest:
    import torch

    torch.set_num_threads(1)
    return models.fetch(random_model)


@pytest.fixture(scope="session")
def weights(manifest) -> Path:
    return models.ensure(manifest)


@pytest.fixture(scope="session")
def tokenizer(weights):
    return models.load_tokenizer(weights)


@pytest.fixture(scope="session")
def seq2seq(random_model) -> models.Manifest:
    """A tiny encoder-decoder model."""
    return models.fetch(random_model.model_copy(update={"architecture": "t5"}))


@pytest.fixture(scope="session")
def mt5(seq2seq, tmp_path_factory) -> models.Manifest:
    """The same shape as mT5 and mT0 have it: gated layers, and a head that shares no weights with the embeddings."""
    import torch
    from transformers import AutoConfig, MT5Config, MT5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("mt5")
    models.load_tokenizer(models.ensure(seq2seq)).save_pretrained(folder)
    t5 = AutoConfig.from_pretrained(models.ensure(seq2seq))
    shape = {name: getattr(t5, name) for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_heads", "num_layers")}
    ends = {"pad_token_id": t5.pad_token_id, "eos_token_id": t5.eos_token_id, "decoder_start_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MT5Config(**shape, **ends, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
        MT5ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    return models.fetch(params.PathModel(source="path", name="mt5-tiny", path=str(folder), license="none"))


@pytest.fixture
def template(weights):
    """A tokenizer of the tiny model with another chat template."""

    def make(text: str | None):
        tokenizer = models.load_tokenizer(weights)
        tokenizer.chat_template = text
        return tokenizer

    return make


@pytest.fixture(scope="session")
def options() -> Callable[..., params.Params]:
    """What conf/ composes for the smoke experiment with overrides, checked."""

    def composed(*overrides: str) -> params.Params:
        return params.check(compose.composed("experiment=smoke", *QUIET, *overrides))

    return composed


@pytest.fixture(scope="session")
def rows() -> dict[str, list[Example]]:
    """Twelve train rows of unlike length, two of them of several turns, and four to validate with."""
    train = [
        chat_row(f"Where is {place}? " + "Please say. " * (i % 5), f"In {place[::-1]}.", system="Answer." if i % 2 else "")
        for i, place in enumerate(["Ulm", "Rio", "Oslo", "Kyoto", "Accra", "Lima", "Hanoi", "Turin", "Perth", "Izmir"])
    ]
    train += [chat_row("And now?", "Later.", "When?", "Soon."), chat_row("再见", "再见！", "你好", "你好。")]
    return {"train": train, "valid": [chat_row(f"Is {i} even?", "no" if i % 2 else "yes") for i in range(4)]}


@pytest.fixture(scope="session")
def furnish(manifest, rows) -> Callable[..., Path]:
    """Makes a folder with params.yaml, the manifest and formatted rows, as a stage finds the repository's root."""

    def make(root: Path, *overrides: str) -> Path:
        root.mkdir()
        compose.compose(["experiment=smoke", *QUIET, *overrides], root / "params.yaml")
        records.write_text(root / models.MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        for split, examples in rows.items():
            records.write(root / "data/formatted" / f"{split}.jsonl", examples)
        for empty in ("data/replay.jsonl", "data/raw/documents.jsonl"):
            records.write(root / empty, [])
        (root / "data/authored").symlink_to(compose.ROOT / "data/authored")
        return root

    return make


@pytest.fixture
def room(tmp_path, furnish):
    """A furnished folder of one test's own."""

    def make(*overrides: str, name: str = "repository") -> Path:
        return furnish(tmp_path / name, *overrides)

    return make


@pytest.fixture(scope="session")
def adapter(tmp_path_factory, options, manifest, weights, tokenizer) -> Path:
    """A stored adapter that was not trained but changes every answer."""
    import torch

    from stages.train import adapt

    p = options("quantization=none", "lora.r=4")
    model = adapt.attach(models.load_base(weights, "cpu"), p.adapter, p.lora, seed=1)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.2, generator=generator)
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    adapt.save(model, tokenizer, folder, manifest)
    return folder


@pytest.fixture(scope="session")
def python():
    """Runs this Python in a folder, with the repository importable; extra variables by keyword."""

    def run(folder: Path, *arguments: str, prefix: tuple[str, ...] = (), given: str = "", **variables: str):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
        command = [*prefix, sys.executable, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True, text=True)

    return run
