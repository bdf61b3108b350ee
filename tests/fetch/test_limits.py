"""What does not fit the model is refused by fetch: long rows, long answers, names of weights."""

import pytest

from stages.errors import DataError
from stages.fetch import limits
from stages.records import Task

pytestmark = pytest.mark.model


def task(question: str, answer: str = "yes") -> Task:
    return Task(kind="text", input=question, output=answer, source="s")


@pytest.mark.parametrize(
    ("question", "new", "message"),
    [
        ("q", 4096, r"predict.max_new_tokens = 4096: the model reads and writes 4096 tokens .*; lower it"),
        (
            "q" * 4000,
            200,
            r"predict.max_new_tokens = 200: the prompt of row task-\w+ \(source s\) has 40\d\d tokens, but .* 3896",
        ),
    ],
)
def test_answer_without_room_is_refused(tokenizer, question: str, new: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        limits.require_room(tokenizer, [task("a"), task(question)], new)


def test_prompt_and_answer_that_just_fit_are_accepted(tokenizer) -> None:
    limits.require_room(tokenizer, [task("q")], 4000)


@pytest.mark.parametrize(("overlong", "what"), [("truncate", "prompt"), ("drop", "row"), ("fail", "row")])
def test_limit_below_every_row_is_refused(tokenizer, options, overlong: str, what: str) -> None:
    p = options("format.max_length=20", f"format.overlong={overlong}")
    with pytest.raises(DataError, match=f"format.max_length = 20: no training row of the 2 .* shortest {what} has .* raise it"):
        limits.require_length(tokenizer, [task("a long question"), task("an even longer question")], p.format)


def test_limit_that_one_row_keeps_is_accepted(tokenizer, options) -> None:
    limits.require_length(tokenizer, [task("q" * 500), task("q")], options("format.max_length=100").format)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["lora.target_modules=[q_proj,vproj]"],
            r"lora.target_modules = .*: no linear layer is called vproj; there are q_proj, ",
        ),
        (["lora.target_modules=[embed_tokens]"], "no linear layer is called embed_tokens"),
        (["lora.target_modules=[input_layernorm]"], "no linear layer is called input_layernorm"),
        (["adapter=adalora", "adapter.target_modules=[nope]"], "adapter.target_modules = .*: no linear layer is called nope"),
        (
            ["adapter=selective", "quantization=none", "adapter.trainable=['*.layers.9.*']"],
            r"adapter.trainable: no weight is called \*.layers.9.\*; names are like model",
        ),
    ],
)
def test_name_of_no_weight_is_refused(weights, options, overrides: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        limits.require_weights(weights, options(*overrides))


@pytest.mark.parametrize("modules", ["all-linear", "[q_proj,down_proj]", "[layers.1.mlp.up_proj]"])
def test_names_of_linear_layers_are_accepted(weights, options, modules: str) -> None:
    limits.require_weights(weights, options(f"lora.target_modules={modules}"))


def test_encoder_decoder_is_not_trained_on_documents(seq2seq, tokenizer, options) -> None:
    from stages.models import sources
    from stages.models.tokenizer import load_tokenizer

    p = options("data=handbook", "synthesis=self_qa", "report.headline=token_f1", "pretrain=documents")
    limits.require_decoder(tokenizer, p)
    with pytest.raises(DataError, match=r"^pretrain.type = documents: an encoder-decoder model needs spans"):
        limits.require_decoder(load_tokenizer(sources.ensure(seq2seq)), p)


def test_layers_of_an_encoder_decoder_are_known(seq2seq, options) -> None:
    from stages.models import sources

    limits.require_weights(sources.ensure(seq2seq), options("lora.target_modules=[q,wo]"))
