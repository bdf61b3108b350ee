"""`tunetrail combine`: `cat` is the weighted sum of the adapters' updates; what PEFT cannot combine exactly is refused."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import files
from stages.commands import adapters, combine
from stages.errors import DataError
from stages.models import loading
from stages.models.manifest import read_manifest
from stages.models.tuned import with_adapter

pytestmark = pytest.mark.model

TOKENS = torch.arange(3, 43).reshape(2, 20)


def keep(name: str, source: Path, change: Callable[[torch.Tensor], torch.Tensor] = lambda weight: weight, **config) -> Path:
    """Store a changed copy of an adapter as `tunetrail keep` does, without DVC."""
    made, target = Path("made", name), adapters.ADAPTERS / name
    shutil.copytree(source, made)
    weights = made / "adapter_model.safetensors"
    save_file({key: change(weight) if "lora_B" in key else weight for key, weight in load_file(weights).items()}, weights)
    path = made / "adapter_config.json"
    files.write_json(path, files.read_json(path) | config)
    held, base = adapters.hashes(made), adapters.base_of(read_manifest())
    adapters.store(made, target, adapters.card("smoke", 42, "adapter", held, base), None)
    return target


@pytest.fixture
def kept(room, adapter, monkeypatch) -> tuple[Path, Path]:
    """Work in a git repository with two kept adapters, where DVC, which takes seconds, is not called."""
    monkeypatch.chdir(room())
    monkeypatch.setattr(adapters, "track", lambda target, is_new: None)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    for command in (("init", "--quiet"), ("commit", "--quiet", "--allow-empty", "--message", "start")):
        subprocess.run([*git, *command], check=True)
    return keep("one", adapter), keep("two", adapter, lambda weight: -0.3 * weight.flip(0))


def make(folders, name="both", method="cat", weights=None, density=None, seed=None) -> Path:
    combine.combine(folders, name, method, weights, density, seed)
    return adapters.ADAPTERS / name


def logits(weights: Path, adapter: Path | None) -> torch.Tensor:
    """Return logits in fp32 with the adapter not merged, so that nothing is rounded to bf16."""
    base = loading.load_base(weights, "cpu", precision="fp32")
    model = with_adapter(base, adapter).eval() if adapter else base
    with torch.no_grad():
        return model(TOKENS).logits


def updates(weights: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """Return what an adapter adds to each module."""
    model = with_adapter(loading.load_base(weights, "cpu", precision="fp32"), adapter)
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    return {name: layer.get_delta_weight("default") for name, layer in layers.items()}


def test_one_adapter_of_weight_one_gives_its_logits(kept, weights):
    made = make(kept[:1], weights=[1.0])
    torch.testing.assert_close(logits(weights, made), logits(weights, kept[0]), rtol=0, atol=1e-5)
    assert (logits(weights, made) - logits(weights, None)).abs().max() > 0.1


def test_cat_gives_the_mean_of_the_updates(kept, weights):
    made, (one, two) = updates(weights, make(kept)), (updates(weights, folder) for folder in kept)
    assert made.keys() == one.keys() == two.keys()
    for name, update in made.items():
        torch.testing.assert_close(update, (one[name] + two[name]) / 2, rtol=0, atol=1e-6)


def test_combination_has_a_card_and_repeats_its_bytes(kept, capsys):
    first, again = make(kept, weights=[0.25, -1.0]), make(kept, "again", weights=[0.25, -1.0])
    card = adapters.Card(**files.read_json(first / "card.json"))
    assert (card.what, card.files) == ("combined", adapters.hashes(first))
    assert card.combined.weights == {"adapters/one": 0.25, "adapters/two": -1.0}
    assert card.combined.contents == {str(f): files.read_json(f / "card.json")["content"] for f in kept}
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}
    assert files.read_json(first / "adapter_config.json")["r"] == 8
    assert "adapters/both: rank 8" in capsys.readouterr().out
    assert combine._card(first, card.base) == card  # a combination is a kept adapter


def test_adapters_of_other_modules_are_joined(kept, adapter, weights):
    narrow = Path("narrow")
    shutil.copytree(adapter, narrow)
    path = narrow / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(path).items() if "q_proj" in name}, path)
    made = updates(weights, make([keep("narrow", narrow, target_modules=["q_proj"]), kept[0]]))
    one = updates(weights, kept[0])
    assert made.keys() == one.keys()
    for name, update in made.items():
        torch.testing.assert_close(update, one[name] * (1.0 if "q_proj" in name else 0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("method", "density"), [("svd", None), ("ties_svd", 0.5)])
def test_svd_and_ties_keep_the_rank(kept, method, density):
    assert files.read_json(make(kept, method=method, density=density) / "adapter_config.json")["r"] == 4


def test_dare_draws_from_its_seed_alone(kept):
    state = torch.random.get_rng_state()
    found = [make(kept, f"seed{seed}{n}", "dare_ties_svd", None, 0.5, seed) for n, seed in enumerate((1, 1, 2))]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in found)
    assert first == again != other


UNFIT = [
    ({"use_rslora": True}, "has rsLoRA, which cannot be combined"),
    ({"use_dora": True}, "has DoRA,"),
    ({"bias": "all"}, r"has trained biases \(bias=all\)"),
    ({"modules_to_save": ["lm_head"]}, "has whole modules besides LoRA"),
    ({"trainable_token_indices": [1]}, "has trained embeddings of tokens"),
    ({"loftq_config": {"type": "nf4"}}, "has a rounded base of its own"),
    ({"target_modules": "q_proj"}, r"has modules named by an expression \(q_proj\)"),
    ({"layers_to_transform": [0]}, "has another layers_to_transform than adapters/one, so layers would be left out"),
    ({"peft_type": "IA3"}, "has the type IA3"),
    ({"peft_type": "PROMPT_TUNING"}, "has the type PROMPT_TUNING"),
]
WRONG = [
    ({"weights": [1.0]}, "--weights: 1 for 2 adapters; give one for each"),
    ({"weights": [1.0, 0.0]}, "--weights: 0; give finite numbers"),
    ({"weights": [1.0, float("nan")]}, "--weights: nan; give finite numbers"),
    ({"weights": [1.0, 1e300]}, "--weights: the combined adapter would hold infinite numbers; give smaller weights"),
    ({"method": "ties_svd"}, "--method ties_svd: needs --density"),
    ({"density": 0.5}, "--method cat: keeps all values; leave out --density"),
    ({"name": "one"}, "adapters/one: exists; choose another name"),
    ({"name": "../x"}, "NAME = '../x'"),
]


def test_what_peft_cannot_combine_is_refused(kept, adapter):
    for number, (config, message) in enumerate(UNFIT):
        with pytest.raises(DataError, match=f"^adapters/unfit{number}: {message}"):
            make([kept[0], keep(f"unfit{number}", adapter, **config)])
    assert not Path("adapters/both").exists()


def test_options_that_do_not_fit_are_refused(kept):
    for given, message in WRONG:
        with pytest.raises(DataError, match=f"^{message}"):
            make(kept, **given)


def test_folders_that_are_no_kept_adapters_of_one_base_are_refused(kept, adapter):
    with pytest.raises(DataError, match=r"adapters/one: named twice; give it a larger weight"):
        make([kept[0], kept[0]])
    with pytest.raises(DataError, match=r"^adapters/one: named twice"):
        make([kept[0], kept[0].resolve()])
    with pytest.raises(DataError, match=r"--method svd: needs at least 2 adapters"):
        make(kept[:1], method="svd")
    with pytest.raises(DataError, match=r"has no card\.json, so it is not a kept adapter; `tunetrail keep NAME`"):
        make([adapter])
    with pytest.raises(DataError, match=r"^adapters/three: no such folder; `tunetrail keep NAME`"):
        make([kept[0], Path("adapters/three")])
    card = files.read_json(kept[0] / "card.json")
    files.write_text(kept[0] / "card.json", json.dumps(card | {"base": {"name": "b", "weights": {}}}))
    with pytest.raises(DataError, match=r"^adapters/one: belongs to another base than models/base\.json, b; choose"):
        make(kept)
    files.write_text(kept[0] / "card.json", "{}")
    with pytest.raises(DataError, match=r"^adapters/one/card\.json: .*experiment.*; keep the adapter again"):
        make(kept)
    shutil.copy(kept[0] / "adapter_model.safetensors", kept[1])
    with pytest.raises(DataError, match=r"^adapters/two: its files are not those of its card\.json; keep it again"):
        make(kept[1:])
