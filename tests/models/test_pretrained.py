"""Folders of models from outside: no code in them runs, and only safetensors next to their index are read."""

import json
import re
import shutil
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.models import loading, pretrained, sources, tokenizer
from stages.models.stored import adapter_config, check_whole
from stages.models.tuned import load_tuned
from stages.params import PathModel, compose
from stages.text import chat

pytestmark = pytest.mark.model

HOOK = {"AutoConfig": "hostile.Config", "AutoTokenizer": ["hostile.Tokenizer", None], "AutoModelForCausalLM": "hostile.Model"}
MEMBERS = {
    "config": ("config.json", {"auto_map": HOOK}),
    "nested": ("config.json", {"text_config": {"auto_map": HOOK}}),
    "listed": ("config.json", {"parts": [{"auto_map": HOOK}]}),
    "tokenizer": ("tokenizer_config.json", {"auto_map": HOOK}),
    "kernel": ("config.json", {"_attn_implementation": "kernels-community/flash-attn"}),
    "other kernel": ("config.json", {"attn_implementation": "kernels-community/flash-attn@main:flash"}),
    "kernel of a part": ("config.json", {"text_config": {"_attn_implementation": {"": "paged|acme/kernel"}}}),
    "other version": ("config.4.0.0.json", {"auto_map": HOOK}),
    "another folder": ("config.json", {"configuration_files": ["config.4.0.0.json", "../config.4.1.0.json"]}),
    "generation": ("generation_config.json", {"auto_map": {"AutoGenerationConfig": "other/repo--hostile.Generation"}}),
    "processor": ("processor_config.json", {"auto_map": HOOK}),
    "index outside": ("model.safetensors.index.json", {"weight_map": {"lm_head.weight": "../secret.safetensors"}}),
    "index absolute": ("model.safetensors.index.json", {"weight_map": {"lm_head.weight": "/tmp/secret.safetensors"}}),
    "index pickle": ("model.safetensors.index.json", {"weight_map": {"lm_head.weight": "pytorch_model.bin"}}),
}
OPENED = {
    "fetch": lambda folder: sources.fetch(PathModel(source="path", name="own", path=str(folder), license="?")),
    "tokenizer": tokenizer.load_tokenizer,
    "base": lambda folder: loading.load_base(folder, "cpu"),
    "whole model": lambda folder: check_whole(folder, "here"),
}


def altered(path: Path, change: dict) -> None:
    content = json.loads(path.read_bytes()) if path.is_file() else {}
    path.write_text(json.dumps(content | change), encoding="utf-8")


@pytest.fixture
def hostile(weights, tmp_path, monkeypatch):
    """A model folder with Python files that leave a trace when they run; questions at the terminal are answered with yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = shutil.copytree(weights, tmp_path / "model")
    (folder / "hostile.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    yield folder
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize(("name", "change"), MEMBERS.values(), ids=MEMBERS)
def test_folder_that_names_code_is_refused(hostile, name, change, opened):
    altered(hostile / name, change)
    with pytest.raises(DataError, match=rf"{re.escape(str(hostile / name))}: .*(never run|are read)"):
        opened(hostile)


@pytest.mark.parametrize("levels", [100, 600, 50_000])
@pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "config.4.0.0.json"])
def test_deeply_nested_configuration_is_refused(hostile, name, opened, levels):
    start = (hostile / name).read_text().rstrip()[:-1] + "," if (hostile / name).is_file() else "{"
    (hostile / name).write_text(f'{start}"zz": {"[" * levels + "]" * levels}}}')
    with pytest.raises(DataError, match=rf"{re.escape(name)}: more than 100 lists or objects in each other"):
        opened(hostile)


@pytest.mark.parametrize(
    "content", ["[" * 50_000, '{"r": ' + '{"a":' * 600 + "1" + "}" * 601, "[]", "{", '{"r": ' + "9" * 5000]
)
def test_damaged_configuration_of_an_adapter_is_refused(weights, adapter, tmp_path, content):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(DataError, match=r"adapter_config\.json(: more than 100 lists| is damaged)"):
        load_tuned(weights, folder, "cpu")


@pytest.mark.parametrize("named", ["eager", "flash_attention_2", "no such attention"])
@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_attention_of_a_configuration_is_not_used(hostile, key, named):
    altered(hostile / "config.json", {key: named})
    check_whole(hostile, "here")
    assert pretrained.model(hostile).config._attn_implementation == "sdpa"


STATE = {"prompt_tuning_init_state_dict_path": "/elsewhere/state.bin", "prompt_tuning_init": "ONLY_SOURCE_SHARED"}
UNREAD = {
    "prompt of a file": ({"peft_type": "MULTITASK_PROMPT_TUNING", **STATE}, "of the type 'MULTITASK_PROMPT_TUNING'; read are"),
    "file of a prompt": (
        {"peft_type": "PROMPT_TUNING", **STATE},
        "has 'prompt_tuning_init_state_dict_path', which is not read",
    ),
    "further adapters": ({"peft_type": "XLORA", "adapters": {"0": "acme/other"}}, "of the type 'XLORA'; read are"),
    "tokenizer": ({"tokenizer_name_or_path": "../other", "prompt_tuning_init": "TEXT"}, "has 'tokenizer_name_or_path'"),
    "no type": ({"peft_type": None}, "of the type 'None'; read are"),
    "type that is a list": ({"peft_type": ["LORA"]}, "of the type .*; read are"),
    "endless start": ({"init_lora_weights": "pissa_niter_100000000"}, "init_lora_weights is 'pissa_niter_100000000'"),
    "copied layers": ({"layer_replication": [[0, 100_000]]}, "has 'layer_replication'"),
    "invocation": ({"alora_invocation_tokens": [1]}, "has 'alora_invocation_tokens'"),
    "pattern of another method": ({"lambda_pattern": {"(a+)+!": 1.0}}, "has 'lambda_pattern'"),
    "later version": ({"cache_path": "/tmp/x"}, "has 'cache_path', which is not read; merge it into its base"),
}


@pytest.mark.parametrize(("change", "message"), UNREAD.values(), ids=UNREAD)
def test_adapter_with_what_is_not_read_is_refused(weights, adapter, tmp_path, change, message):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    altered(folder / "adapter_config.json", change)
    with pytest.raises(DataError, match=message):
        load_tuned(weights, folder, "cpu")


@pytest.mark.parametrize("merges", ["m.txt", "../m.txt", "/m.txt"])
@pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)
def test_tokenizer_that_names_files_is_refused(hostile, opened, merges):
    change = {"tokenizer_class": "GPT2Tokenizer", "vocab": f"{hostile.parent}/private.json", "merges": merges}
    altered(hostile / "tokenizer_config.json", change)
    with pytest.raises(DataError, match=r"'vocab' names the file '.*'; only the files of a tokenizer next to it"):
        opened(hostile)
    altered(hostile / "tokenizer_config.json", {"vocab": None})
    with pytest.raises(DataError, match="'merges' names the file"):
        opened(hostile)


def test_adapter_that_names_code_is_refused(weights, adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    altered(folder / "adapter_config.json", {"auto_map": HOOK})
    with pytest.raises(DataError, match="never run"):
        load_tuned(weights, folder, "cpu")


ENDLESS = r"(\w+\.?)+!"
EXPRESSIONS = [
    ("target_modules", ENDLESS),
    ("target_modules", ".*.*.*.*.*.*.*.*!"),
    ("target_modules", r"(?:\w|\w)" * 30),
    ("exclude_modules", ENDLESS),
    ("modules_to_save", ["lm_head", ENDLESS]),
    ("layers_pattern", [ENDLESS]),
    ("rank_pattern", {"q_proj": 4, ENDLESS: 8}),
    ("alpha_pattern", {"(a?){40}a{40}": 8}),
    ("target_parameters", [ENDLESS]),
]


@pytest.mark.parametrize(("key", "value"), EXPRESSIONS)
def test_expression_that_may_never_end_is_refused(weights, adapter, tmp_path, key, value):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    altered(folder / "adapter_config.json", {key: value})
    with pytest.raises(DataError, match=rf"{key} holds the expression .*; list the names of modules"):
        load_tuned(weights, folder, "cpu")


@pytest.mark.parametrize(("key", "value"), [("rank_pattern", {r"^model\.layers.0.*q_proj": 4}), ("exclude_modules", "lm_head")])
def test_simple_expression_of_an_adapter_is_read(adapter, tmp_path, key, value):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    altered(folder / "adapter_config.json", {key: value})
    assert adapter_config(folder)[key] == value


@pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize("change", [{"target_modules": ENDLESS}, {"rank_pattern": {ENDLESS: 2}}, {}], ids=str)
def test_adapter_within_a_model_folder_is_refused(hostile, adapter, change, opened):
    for path in adapter.iterdir():
        shutil.copy(path, hostile)
    altered(hostile / "adapter_config.json", change)
    with pytest.raises(DataError, match="holds an adapter next to a model; move the adapter out"):
        opened(hostile)


@pytest.mark.parametrize("part", [{"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}])
def test_tokenizer_that_gives_up_is_named(hostile, part):
    altered(hostile / "tokenizer.json", {"pre_tokenizer": part})
    opened = tokenizer.load_tokenizer(hostile)
    with pytest.raises(DataError, match=r"model: its tokenizer cannot read the text 'aaa.*leave the text out or"):
        chat.text_ids(opened, "a" * 200 + "!")


def test_a_token_called_auto_map_is_no_code(hostile):
    altered(hostile / "config.json", {"note": "auto_map"})
    (hostile / "vocab.json").write_text('{"auto_map": 7}')
    assert tokenizer.load_tokenizer(hostile)


def test_from_pretrained_is_called_in_one_place():
    """gguf.py opens a file of its own temporary folder; PEFT gets a folder that adapter_config has checked."""
    called = {
        str(path.relative_to(compose.ROOT / "stages"))
        for path in (compose.ROOT / "stages").rglob("*.py")
        if ".from_pretrained(" in path.read_text(encoding="utf-8")
    }
    assert called == {"models/pretrained.py", "models/gguf.py", "models/tuned.py", "models/combining.py", "align/reward.py"}
