"""A folder for llama.cpp and Ollama: one GGUF file, which was read back and compared, and a Modelfile."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from stages.commands.gguf import contents, convert
from stages.commands.gguf.modelfile import modelfile
from stages.errors import DataError
from stages.files import file_hash, write_text
from stages.models.loading import LanguageModel
from stages.records import Example


class Gguf(NamedTuple):
    """How a GGUF file is written.

    `quant` is the form of its numbers, `converter` the environment with the converter. `model` is what the file calls the
    model, `system` the system prompt of the training rows, `most` the limit of an answer's tokens, `versions` those of the
    converter's packages.
    """

    quant: str
    converter: Path
    model: str
    system: str
    most: int
    versions: Mapping[str, str] = MappingProxyType({})


def require(gguf: Gguf, lm: LanguageModel) -> Gguf:
    """Return the same with the versions of the converter; raise DataError unless it can convert the model."""
    if lm.encoder_decoder:
        raise DataError("--format gguf: llama.cpp's server answers with no encoder-decoder model; use --format folder")
    tokens, rows = max(lm.tokenizer.get_vocab().values()) + 1, lm.model.get_input_embeddings().weight.shape[0]
    if tokens > rows:
        raise DataError(
            f"--format gguf: the tokenizer writes {tokens} tokens, the model reads {rows}; llama.cpp converts no such model, "
            "use --format folder"
        )
    return gguf._replace(versions=convert.require(gguf.converter, gguf.quant, type(lm.model).__name__))


def write(gguf: Gguf, lm: LanguageModel, examples: Sequence[Example], weights: Path, folder: Path) -> dict[str, Any]:
    """Convert the stored model in `weights` to a file in `folder` and return what that holds.

    Raise DataError if the file's vocabulary, end token or chat template differ from the model's.
    """
    path = folder / f"model-{gguf.quant}.gguf"
    convert.convert(gguf.converter, gguf.quant, weights, path, gguf.model)
    plain = contents.plain(lm, examples)
    found = contents.check(path, lm, plain)
    text = modelfile(lm, path.name, gguf.system, gguf.most, [example.prompt for example in plain])
    if text is None:
        print(
            "warning: no Modelfile: a template of Ollama cannot write what this chat template does; llama.cpp's server reads "
            "the one in the file",
            file=sys.stderr,
        )
    else:
        write_text(folder / "Modelfile", text)
    made = {"file": path.name, "bytes": path.stat().st_size, "sha256": file_hash(path), "converter": dict(gguf.versions)}
    return {**made, **found, "prompts_compared": len(plain)}
