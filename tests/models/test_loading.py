"""Loaded base models: the input of the head and the chat template of Gemma."""

import pytest

from stages.models import loading, templates
from stages.records import Message
from stages.text import chat

pytestmark = pytest.mark.model


def test_input_of_the_head_is_contiguous(weights):
    import torch

    model, seen = loading.load_base(weights, "cpu"), []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    ids = torch.arange(12).reshape(2, 6)
    cut = model(input_ids=ids, logits_to_keep=2).logits
    assert seen == [True]
    torch.testing.assert_close(cut, model(input_ids=ids).logits[:, -2:])


class Model:
    """Stands in for a model, which this machine may have no device for."""

    _supports_flash_attn = True

    def __init__(self, _, attn_implementation, **__):
        self.attention = attn_implementation

    def set_attn_implementation(self, name):
        self.attention = name

    def modules(self):
        return []

    parameters = buffers = modules

    def get_output_embeddings(self):
        return None

    def eval(self):
        return self


@pytest.mark.parametrize(("device", "faster"), [("cpu", "eager"), ("cuda", "sdpa")])
def test_attention_auto_is_the_faster_of_the_device(monkeypatch, tmp_path, device, faster):
    monkeypatch.setattr(loading.pretrained, "model", Model)
    assert loading.load_base(tmp_path, device, attention="auto").attention == faster
    assert loading.load_base(tmp_path, device).attention == "sdpa"  # as predictions load it


def test_gemma_template_puts_the_system_prompt_first(weights):
    tokenizer = loading.load_tokenizer(weights)
    tokenizer.chat_template = templates.GEMMA
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v")]
    rendered = chat.render(tokenizer, [Message(role=role, content=text) for role, text in turns], answer_next=True)
    assert rendered.removeprefix(str(tokenizer.bos_token or "")) == (
        "<start_of_turn>user\ns\n\nu<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n"
        "<start_of_turn>user\nv<end_of_turn>\n<start_of_turn>model\n"
    )
