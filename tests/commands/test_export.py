"""`tunetrail export`: the folder answers as base and adapter do, with the numbers of a check; what cannot merge is refused."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from stages import cli, files, records
from stages.commands import export, predict
from stages.errors import DataError
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned
from stages.records import Message
from stages.text import chat
from stages.train import adapt

pytestmark = pytest.mark.model


@pytest.fixture
def repository(room, rows, adapter, monkeypatch):
    """A furnished folder as current one, with a test split and a model card; the adapter lies elsewhere."""
    root = room()
    records.write(root / "data/formatted/test.jsonl", rows["train"])
    files.write_text(root / "reports/smoke/model_card.md", "# A card\n")
    monkeypatch.chdir(root)
    return root


def said(model):
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 100)[None]).logits.float()


def test_the_exported_folder_is_the_merged_model_with_tokenizer_and_checks_and_no_card_of_another_adapter(
    repository, adapter, weights
):
    checked = export.export(repository / "out", adapter)
    assert json.loads((repository / "out/export.json").read_text(encoding="utf-8")) == checked
    assert checked["merge_error"] <= checked["tolerance"]
    assert checked["rows"] == 12
    assert set(checked["stop_rate"]) == {"base", "adapter", "nf4", "merged"}
    assert checked["top1_agreement"]["adapter/merged"] > checked["top1_agreement"]["base/merged"]
    assert checked["logit_difference"]["adapter/merged"] < checked["logit_difference"]["adapter/nf4"]
    assert not (repository / "out/README.md").exists() and not (repository / "out/params.yaml").exists()
    assert loading.load_tokenizer(repository / "out").chat_template
    import torch

    assert torch.equal(said(loading.load_base(repository / "out", "cpu")), said(load_tuned(weights, adapter, "cpu")))
    places = (str(repository), str(weights))
    stored = [path for path in (repository / "out").iterdir() if path.suffix in (".json", ".jinja", ".md")]
    assert [path.name for path in stored if any(place in path.read_text(encoding="utf-8") for place in places)] == []


def test_card_and_parameters_go_along_with_the_adapter_that_they_describe(repository, adapter):
    with pytest.raises(DataError, match="models/42/adapter"):
        export.export(repository / "out", None)
    shutil.copytree(adapter, repository / "models/42/adapter")
    export.export(repository / "out", None)
    assert (repository / "out/README.md").read_text(encoding="utf-8") == "# A card\n"
    assert (repository / "out/params.yaml").read_bytes() == (repository / "params.yaml").read_bytes()
    (repository / "reports/smoke/model_card.md").unlink()
    with pytest.raises(DataError, match=r"model_card\.md: no such file; .* run `dvc repro` first"):
        export.export(repository / "again", Path("models/42/adapter"))


THINKING = (  # asks for all that stages/text/chat.py passes
    "{{ strftime_now('%d %b %Y') }} {{ date_string }}"
    "{% if enable_thinking is defined and not enable_thinking %} briefly{% endif %}{{ '\n' }}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_the_exported_folder_alone_renders_and_ends_as_predict_does(repository, template, weights):
    """As a server uses it: nothing is passed to the template, no end tokens to generate."""
    tokenizer = template(THINKING)
    tokenizer.eos_token = tokenizer.pad_token = "<|endoftext|>"  # not the end of a turn
    asked = [Message(role="user", content="When?")]
    expected = chat.prompt_ids(tokenizer, asked), chat.stop_ids(tokenizer)
    export._store(LanguageModel(loading.load_base(weights, "cpu"), tokenizer), {}, {}, repository / "out")
    stored, model = loading.load_tokenizer(repository / "out"), loading.load_base(repository / "out", "cpu")
    given = stored.apply_chat_template([m.model_dump() for m in asked], add_generation_prompt=True, return_dict=False)
    assert (given, model.generation_config.eos_token_id) == expected
    assert model.generation_config.pad_token_id == stored.pad_token_id == 0 != stored.convert_tokens_to_ids("<|im_end|>")
    assert chat.prompt_ids(stored, asked) == expected[0]


def test_a_template_that_asks_for_nothing_is_stored_as_it_is(repository, tokenizer, adapter):
    export.export(repository / "out", adapter)
    assert loading.load_tokenizer(repository / "out").chat_template == tokenizer.chat_template


def test_a_folder_that_exists_is_left_alone(repository, adapter):
    (repository / "out").mkdir()
    with pytest.raises(DataError, match="out: exists"):
        export.export(repository / "out", adapter)


def test_a_merge_that_loses_too_much_is_refused_and_nothing_is_stored(repository, adapter, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", 1e-9)
    with pytest.raises(DataError, match=r"rounded to bf16 it loses \d\.\d+ of what was learnt, more than 1e-09; serve"):
        export.export(repository / "out", adapter)
    assert not (repository / "out").exists()


def test_a_whole_model_with_weights_missing_neither_answers_nor_is_exported(repository, weights, manifest):
    broken = shutil.copytree(weights, repository / "broken")
    config = json.loads((broken / "config.json").read_text(encoding="utf-8"))
    (broken / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 9}), encoding="utf-8")
    files.write_text(repository / "in.txt", "When?\n")
    with pytest.raises(DataError, match=r"^--adapter broken: its weights do not fit its config\.json"):
        predict.answer("in.txt", "out.jsonl", [], [Path("broken")])
    with pytest.raises(DataError, match=r"^--adapter broken: its weights do not fit its config\.json"):
        export.export(repository / "out", Path("broken"))
    assert not list(repository.glob("*out*"))


def test_a_prompt_cannot_be_merged(repository, manifest, weights, tokenizer, options):
    p = options("adapter=prompt_tuning", "quantization=none")
    model = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 1)
    adapt.save(LanguageModel(model, tokenizer), repository / "prompt", manifest)
    with pytest.raises(DataError, match="a prompt has no weights to merge; use `tunetrail predict --adapter"):
        export.export(repository / "out", repository / "prompt")


@pytest.fixture
def other(repository, manifest, weights, tokenizer, options):
    """A second adapter, with other answers."""
    p = options("quantization=none", "lora.r=4")
    model = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 2)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.2)
    adapt.save(LanguageModel(model, tokenizer), repository / "other", manifest)
    return repository / "other"


def test_one_adapter_then_another_then_the_first_gives_the_firsts_answers_again(repository, adapter, other):
    (repository / "in.txt").write_text("first\nsecond\n", encoding="utf-8")
    told = []
    for folder in (adapter, other, adapter):
        predict.answer("in.txt", "out.jsonl", ["tuned"], [folder])
        told.append((repository / "out.jsonl").read_text(encoding="utf-8"))
    assert told[0] == told[2] != told[1]


def test_adapters_of_one_call_answer_in_the_order_in_which_they_are_named(repository, adapter, other):
    (repository / "in.txt").write_text("first\nsecond\n", encoding="utf-8")
    cli.predict(Namespace(input="in.txt", output="out.jsonl", system="tuned", adapter=[adapter, other, adapter]))
    for line in (repository / "out.jsonl").read_text(encoding="utf-8").splitlines():
        _, *answers = json.loads(line).items()
        assert [name for name, _ in answers] == [str(adapter), str(other), f"{adapter} (2)"]
        (_, first), (_, second), (_, third) = answers
        assert first == third != second


def test_an_adapter_that_is_not_there_is_named(repository):
    (repository / "in.txt").write_text("first\n", encoding="utf-8")
    with pytest.raises(DataError, match="--adapter nope: no such folder"):
        predict.answer("in.txt", "out.jsonl", ["tuned"], [Path("nope")])
