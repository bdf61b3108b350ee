"""Fixtures for tests of pairs: the preference section, complaint rows and their samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages import files
from stages.params import Preference, compose
from stages.preferences import verifier
from stages.preferences.records import Sample
from stages.records import Example, Message

if TYPE_CHECKING:
    from stages.models.loading import LanguageModel

CONF = compose.ROOT / "conf/preference/none.yaml"
RIGHT = {"name": "Ann Lee", "city": "Ulm", "email": "ann@lee.org", "question": "Where?"}


@pytest.fixture(scope="session")
def settings() -> Callable[..., Preference]:
    """Return a function that gives the section preference with other values."""

    def make(**fields: object) -> Preference:
        return Preference.model_validate(files.read_yaml(CONF.read_bytes(), str(CONF)) | {"sources": ["verifier"]} | fields)

    return make


@pytest.fixture(scope="session")
def lm(weights: Path) -> "LanguageModel":
    """The tiny model without an adapter."""
    from stages.models.loading import LanguageModel, load_base, load_tokenizer

    return LanguageModel(load_base(weights, "cpu"), load_tokenizer(weights))


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def row(number: int, answer: str = json.dumps(RIGHT), kind: str = "extraction", **fields: object) -> Example:
    messages = (Message(role="user", content=f"Complaint {number}."), Message(role="assistant", content=answer))
    return Example.model_validate(
        {"kind": kind, "messages": messages, "source": f"s{number}", "parents": (f"task-{number}",), **fields}
    )


def complaint(right: int) -> str:
    """Return an answer with this many right fields of four."""
    return json.dumps({key: value if i < right else "wrong" for i, (key, value) in enumerate(RIGHT.items())})


def samples(example: Example, *texts: str) -> list[Sample]:
    found = [
        Sample(example=example.id, number=i, text=text, stopped=True, new_tokens=9, parents=(example.id,))
        for i, text in enumerate(texts)
    ]
    return verifier.scored([example], found)
