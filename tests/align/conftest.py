"""Fixtures for tests of alignment: a folder like the repository's root, with an adapter of train and pairs on its samples."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import files, records
from stages.params import compose
from stages.preferences import making, reference
from stages.preferences.made import Made
from stages.preferences.records import Pair, Vote
from tests.fixtures.aligning import SHORT

CONF = compose.ROOT / "conf/preference/none.yaml"


@pytest.fixture(scope="session")
def tuned(adapter, weights, tokenizer):
    """The tuned model as pairs and align open it."""
    from stages.models.loading import LanguageModel
    from stages.models.tuned import load_tuned

    return LanguageModel(load_tuned(weights, adapter, "cpu", merge=False), tokenizer)


@pytest.fixture(scope="session")
def pairs(rows, tuned) -> list[Pair]:
    """Ten pairs of one-word answers, the last two held out, with the tuned model's log-probabilities."""
    made = Made()
    for number, example in enumerate(rows["train"][:10]):
        made.pairs.append(
            Pair(
                example=example.id,
                prompt=example.prompt,
                chosen="yes",
                rejected=f"no {number}",
                source="verifier",
                chosen_from="sample",
                rejected_from="sample",
                held_out=number >= 8,
            )
        )
    found, _ = reference.measured(tuned, {"verifier": made})
    return making.pairs(found)


@pytest.fixture(scope="session")
def votes(rows, tuned) -> list[Vote]:
    made = Made()
    for example, good in zip(rows["train"][10:12], (True, False), strict=True):
        made.votes.append(Vote(example=example.id, prompt=example.prompt, text="yes", good=good, source="verifier"))
    return making.votes(reference.measured(tuned, {"verifier": made})[0])


@pytest.fixture(scope="session")
def prepared(furnish, adapter, pairs, votes) -> Callable[..., Path]:
    """Return a function that makes a folder in which the stage align can run."""

    def make(root: Path, *overrides: str) -> Path:
        answering = [] if "align=reward" in overrides else ["align.eval_rows=2"]  # a reward model answers nothing
        furnish(root, "quantization=none", "preference.sources=[verifier]", *SHORT, *answering, *overrides)
        shutil.copytree(adapter, root / "models/42/adapter")
        settings = files.read_yaml(CONF.read_bytes(), str(CONF)) | {"sources": ["verifier"], "prompts": 3, "samples": 2}
        settings |= {"sampling": settings["sampling"] | {"max_new_tokens": 4}, "reference": 1.0, "held_out": 0.0}
        records.write(root / "data/pairs/42/pairs.jsonl", pairs)
        records.write(root / "data/pairs/42/votes.jsonl", votes)
        files.write_json(root / "data/pairs/42/settings.json", {"seed": 42, "preference": settings})
        return root

    return make
