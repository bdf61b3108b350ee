"""`tunetrail export`: the folder answers like base and adapter and contains a check; what cannot be merged is refused."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from stages import cli, files, locks, records
from stages.commands import export
from stages.commands.predict import command as predict
from stages.errors import DataError
from stages.models import loading
from stages.models.loading import LanguageModel
from stages.models.tuned import load_tuned
from stages.params import compose
from stages.records import Message
from stages.text import chat
from stages.training import adapt

pytestmark = pytest.mark.model


@pytest.fixture
def repository(room, rows, adapter, monkeypatch):
    """Work in a folder with parameters, a test split and a model card; the adapter is in another folder."""
    root = room()
    records.write(root / "data/formatted/test.jsonl", rows["train"])
    files.write_text(root / "reports/smoke/model_card.md", "# A card\n")
    monkeypatch.chdir(root)
    return root


def logits(model):
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 100)[None]).logits.float()


def test_card_of_another_run_is_not_exported(repository, adapter):
    """An experiment of the same name leaves its report, while the weights are those of dvc.lock again."""
    shutil.copytree(adapter, repository / "models/42/adapter", dirs_exist_ok=True)
    entry = "    - path: reports/smoke/model_card.md\n      hash: md5\n      md5: {}\n      size: 9\n"
    written = files.file_hash(repository / "reports/smoke/model_card.md", "md5")
    for md5 in ("0" * 32, written):
        (repository / "dvc.lock").write_text("schema: '2.0'\nstages:\n  report:\n    cmd: x\n    outs:\n" + entry.format(md5))
        if md5 == written:
            export.export(repository / "out", None)
            assert (repository / "out/README.md").read_text() == "# A card\n"
        else:
            with pytest.raises(DataError, match=r"^reports/smoke/model_card\.md: belongs to another run than dvc\.lock"):
                export.export(repository / "out", None)
            assert not (repository / "out").exists()


def test_exported_folder_is_merged_model_tokenizer_and_check(repository, adapter, weights, capsys):
    capsys.readouterr()
    export.export(repository / "out", adapter)
    check = export.Check(**files.read_json(repository / "out/export.json"))
    assert capsys.readouterr().out.splitlines() == export.sentences(check, repository / "out")
    assert check.merge_error <= check.tolerance
    assert check.rows == 12
    assert set(check.stop_rate) == {"base", "adapter", "nf4", "merged"}
    assert check.top1_agreement["adapter/merged"] > check.top1_agreement["base/merged"]
    assert check.logit_difference["adapter/merged"] < check.logit_difference["adapter/nf4"]
    assert not (repository / "out/README.md").exists() and not (repository / "out/params.yaml").exists()
    assert loading.load_tokenizer(repository / "out").chat_template
    import torch

    assert torch.equal(logits(loading.load_base(repository / "out", "cpu")), logits(load_tuned(weights, adapter, "cpu")))
    places = (str(repository), str(weights))
    stored = [path for path in (repository / "out").iterdir() if path.suffix in (".json", ".jinja", ".md")]
    assert [path.name for path in stored if any(place in path.read_text(encoding="utf-8") for place in places)] == []


def test_card_and_parameters_accompany_their_own_adapter(repository, adapter):
    with pytest.raises(DataError, match="models/42/adapter"):
        export.export(repository / "out", None)
    shutil.copytree(adapter, repository / "models/42/adapter")
    export.export(repository / "out", None)
    assert (repository / "out/README.md").read_text(encoding="utf-8") == "# A card\n"
    assert (repository / "out/params.yaml").read_bytes() == (repository / "params.yaml").read_bytes()
    (repository / "reports/smoke/model_card.md").unlink()
    with pytest.raises(DataError, match=r"model_card\.md: no such file; .* run `dvc repro` first"):
        export.export(repository / "again", Path("models/42/adapter"))


THINKING = (  # uses every value that stages/text/chat.py passes
    "{{ strftime_now('%d %b %Y') }} {{ date_string }}"
    "{% if enable_thinking is defined and not enable_thinking %} briefly{% endif %}{{ '\n' }}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_exported_folder_alone_renders_and_stops_like_predict(repository, template, weights):
    """Use the folder as a server does: pass nothing to the template and no end tokens to generate."""
    tokenizer = template(THINKING)
    tokenizer.eos_token = tokenizer.pad_token = "<|endoftext|>"  # not the end of a turn
    asked = [Message(role="user", content="When?")]
    expected = chat.prompt_ids(tokenizer, asked), chat.stop_ids(tokenizer)
    check = export.Check(0, 0.0, 0.0, {}, {}, {})
    export._store(LanguageModel(loading.load_base(weights, "cpu"), tokenizer), {}, check, repository / "out")
    stored, model = loading.load_tokenizer(repository / "out"), loading.load_base(repository / "out", "cpu")
    given = stored.apply_chat_template([m.model_dump() for m in asked], add_generation_prompt=True, return_dict=False)
    assert (given, model.generation_config.eos_token_id) == expected
    assert model.generation_config.pad_token_id == stored.pad_token_id == 0 != stored.convert_tokens_to_ids("<|im_end|>")
    assert chat.prompt_ids(stored, asked) == expected[0]


def test_template_without_variables_is_stored_unchanged(repository, tokenizer, adapter):
    export.export(repository / "out", adapter)
    assert loading.load_tokenizer(repository / "out").chat_template == tokenizer.chat_template


@pytest.mark.parametrize("missing", ["models/base.json", "data/formatted/test.jsonl"])
def test_missing_output_is_named_with_the_remedy(repository, adapter, missing):
    (repository / missing).unlink()
    with pytest.raises(DataError, match=rf"^{missing}: no such file; run `dvc repro` first$"):
        export.export(repository / "out", adapter)


def test_existing_folder_is_left_alone(repository, adapter):
    (repository / "out").mkdir()
    with pytest.raises(DataError, match="out: already exists"):
        export.export(repository / "out", adapter)


def test_merge_that_loses_too_much_is_refused(repository, adapter, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", 1e-9)
    with pytest.raises(DataError, match=r"rounding to bf16 loses \d+\.\d % of what was learned, more than 1e-07 %; use"):
        export.export(repository / "out", adapter)
    assert not (repository / "out").exists()


def test_full_model_with_missing_weights_is_refused(repository, weights, manifest):
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
    with pytest.raises(DataError, match="a trained prompt cannot be merged; use `tunetrail predict --adapter"):
        export.export(repository / "out", repository / "prompt")


@pytest.fixture
def other(repository, manifest, weights, tokenizer, options):
    """Return a second adapter, with other answers."""
    p = options("quantization=none", "lora.r=4")
    model = adapt.attach(loading.load_base(weights, "cpu"), p.adapter, p.lora, 2)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.2)
    adapt.save(LanguageModel(model, tokenizer), repository / "other", manifest)
    return repository / "other"


def test_adapters_used_in_turn_do_not_affect_each_other(repository, adapter, other):
    (repository / "in.txt").write_text("first\nsecond\n", encoding="utf-8")
    answers = []
    for folder in (adapter, other, adapter):
        predict.answer("in.txt", "out.jsonl", ["tuned"], [folder])
        answers.append((repository / "out.jsonl").read_text(encoding="utf-8"))
    assert answers[0] == answers[2] != answers[1]


def test_adapters_of_one_call_answer_in_order(repository, adapter, other, monkeypatch):
    (repository / "in.txt").write_text("first\nsecond\n", encoding="utf-8")
    options = [word for folder in (adapter, other, adapter) for word in ("--adapter", str(folder))]
    monkeypatch.setattr(sys, "argv", ["tunetrail", "predict", "--input", "in.txt", "--output", "out.jsonl", *options])
    cli.main()
    for line in (repository / "out.jsonl").read_text(encoding="utf-8").splitlines():
        _, *answers = json.loads(line).items()
        assert [name for name, _ in answers] == [str(adapter), str(other), f"{adapter} (2)"]
        (_, first), (_, second), (_, third) = answers
        assert first == third != second


def test_missing_adapter_is_named(repository):
    (repository / "in.txt").write_text("first\n", encoding="utf-8")
    with pytest.raises(DataError, match="--adapter nope: no such folder"):
        predict.answer("in.txt", "out.jsonl", ["tuned"], [Path("nope")])


def test_second_export_to_one_folder_stops(repository, adapter, monkeypatch):
    def during(*_):
        with pytest.raises(DataError, match=r"out: process \d+ \(.*\) works on it; wait until it ends"):
            export.export(repository / "out", adapter)
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, "TRIES", 1)
    monkeypatch.setattr(export, "open_tuned", during)
    with pytest.raises(KeyboardInterrupt):
        export.export(repository / "out", adapter)
    assert not list(repository.glob("*out*"))


def test_adapter_that_changes_during_export_is_refused(repository, adapter, monkeypatch):
    own = shutil.copytree(adapter, repository / "mine")

    def during(*_):
        shutil.rmtree(own)
        raise OSError("no such file")

    monkeypatch.setattr(export, "open_tuned", during)
    with pytest.raises(DataError, match="mine: another process changed it while it was read"):
        export.export(repository / "out", own)
    assert not list(repository.glob("*out*"))


def test_card_goes_with_the_aligned_adapter_of_the_run(repository, adapter):
    compose.compose(["experiment=smoke", "preference=verifier", "align=dpo"], repository / "params.yaml")
    shutil.copytree(adapter, repository / "models/42/aligned")
    export.export(repository / "out", Path("models/42/aligned"))
    assert (repository / "out/README.md").read_text() == "# A card\n"


def test_check_is_printed_in_sentences(tmp_path):
    pairs = {"adapter/merged": 0.984, "base/merged": 0.7}
    check = export.Check(32, 0.1, 0.0371, {"base": 0.5, "adapter": 1.0, "merged": 0.96875}, pairs, pairs)
    assert export.sentences(check, tmp_path) == [
        f"{tmp_path}: stored; 32 reference answers were read by each form of the model",
        "merging and rounding to bf16 loses 3.7 % of what was learned, at most 10 % is allowed",
        "merged model and adapter have the same most likely token at 98.4 % of the positions",
        "answers that end where the reference does: base 50.0 %, adapter 100.0 %, merged 96.9 %",
        f"all numbers: {tmp_path / 'export.json'}",
    ]
