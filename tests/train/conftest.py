"""Fixtures for tests of training: chosen parameters, trained models, and a killed run with its uninterrupted twin."""

import copy
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages import params
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.params import Params, compose
from stages.training import adapt, dataset, run
from tests.fixtures.training import SIX_STEPS, train

KINDS = {
    "4-bit": ["quantization=nf4", "lora.dropout=0.1", "train.group_by_length=true"],
    "bf16": ["quantization=none", "lora.dropout=0.1", "train.group_by_length=false"],
}

SMALL = {"num_virtual_tokens": 5, "encoder_hidden_size": 8}

# Step 5 is complete and checkpoint-4 is the newest when SIGKILL ends the process.
KILLED_IN_STEP_6 = """
import os, signal, sys
from transformers import Trainer
from stages.train.__main__ import main

step = Trainer.training_step

def last_step(self, *arguments, **named):
    if self.state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments, **named)

Trainer.training_step = last_step
sys.argv = ["train", "42"]
main()
"""


@dataclass(frozen=True)
class Runs:
    """Two folders with the same parameters and rows: one trained to the end, one killed in between."""

    overrides: list[str]
    finished: Path
    killed: Path


@pytest.fixture(scope="session", params=KINDS.values(), ids=KINDS)
def runs(request, furnish, warm, tmp_path_factory) -> Runs:
    folder, overrides = tmp_path_factory.mktemp("runs"), [*SIX_STEPS, *request.param]
    finished, killed = furnish(folder / "finished", *overrides), furnish(folder / "killed", *overrides)
    died = warm(killed, "-c", KILLED_IN_STEP_6)
    assert died.returncode == -signal.SIGKILL, died.stderr
    return Runs(overrides, train(finished), killed)


@pytest.fixture(scope="session")
def chosen(options) -> Callable[..., Params]:
    """Return a function that combines an adapter and a quantization of conf/ with values under dotted keys."""
    committed = compose.composed("experiment=smoke", "runtime.threads=1", "runtime.micro_batch_size=2", "lora.r=4")

    def make(adapter: str, quantization: str = "none", changes: dict | None = None) -> Params:
        values = copy.deepcopy(committed)
        values["adapter"] = params.load(compose.ROOT / "conf/adapter" / f"{adapter}.yaml")
        values["adapter"] |= {key: size for key, size in SMALL.items() if key in values["adapter"]}
        values["quantization"] = params.load(compose.ROOT / "conf/quantization" / f"{quantization}.yaml")
        given = {"train.max_steps": 2, "train.learning_rate": 0.05, "train.warmup_steps": 0, **(changes or {})}
        for key, value in given.items():
            section, name = key.split(".")
            values[section][name] = value
        return params.check(values)

    return make


@pytest.fixture
def trained(chosen, rows, tmp_path):
    """Return a function that trains on the shared rows and returns the model and its run."""

    def make(p: Params, weights: Path, unfinished: Path = tmp_path / "unfinished", penalty=None, start_from=None):
        tokenizer = loading.load_tokenizer(weights)
        train, valid = (dataset.tokenised(rows[split], tokenizer, 2048) for split in ("train", "valid"))
        if p.train.packing:
            train = dataset.packed(train, tokenizer, 512)
        steps = run.steps(len(train), p.train)
        base = loading.load_base(weights, "cpu", p.quantization, p.train.precision, p.train.attn_implementation)
        model = adapt.attach(base, p.adapter, p.lora, 1, steps=steps, start_from=start_from)
        lm, data = LanguageModel(model, tokenizer), run.Rows(train, valid)
        penalty = penalty(lm) if penalty else None
        result = run.train(lm, data, p.train, p.runtime, seed=1, unfinished=unfinished, penalty=penalty)
        if tokenizer.encoder_decoder:
            base.set_attn_implementation("sdpa")  # as predictions load it; in bf16, T5 answers differently with eager
        return model.eval(), result

    return make


@pytest.fixture
def exact(chosen, weights):
    """Return a function that makes fp32 parameters and a model with a nonzero adapter."""
    import torch

    def make(changes: dict):
        p = chosen("lora", changes={"train.precision": "fp32", "train.group_by_length": False, **changes})
        model = adapt.attach(loading.load_base(weights, "cpu", precision="fp32", attention="eager"), p.adapter, p.lora, 1)
        generator = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.1, generator=generator)
        return p, model

    return make
