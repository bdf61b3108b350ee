"""Encoder-decoder models with the same functions: chats, batches, forced answers and the audit."""

import pytest

from stages.format import audit
from stages.generation import likelihoods
from stages.models import loading, sources
from stages.models.loading import LanguageModel
from stages.predict import answers
from stages.records import Example, Message, Prediction
from stages.text import chat

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["seq2seq", "mt5"])
def t5(request):
    return loading.load_base(sources.ensure(request.getfixturevalue(request.param)), "cpu").float()


@pytest.fixture(scope="module")
def plain(seq2seq):
    return loading.load_tokenizer(sources.ensure(seq2seq))


@pytest.fixture(scope="module")
def examples(rows) -> list[Example]:
    return rows["train"][:6]


def test_encoder_reads_the_prompt_and_only_the_answer_is_trained(plain):
    turns = [
        Message(role=role, content=text) for role, text in (("system", "Be brief."), ("user", "Hi?"), ("assistant", "Yo."))
    ]
    (sequence,) = chat.encode(plain, turns)
    assert plain.decode(sequence.input_ids) == "Be brief.\n\nHi?\n\n<|im_end|>"
    assert plain.decode(sequence.labels) == "Yo.<|im_end|>"
    assert sequence.input_ids == chat.prompt_ids(plain, turns[:-1])
    assert (sequence.supervised, sequence.length) == (4, len(sequence.input_ids))


def test_each_answer_of_a_chat_is_a_sequence(plain):
    turns = (("user", "a?"), ("assistant", "A"), ("user", "b?"), ("assistant", "B"))
    first, second = chat.encode(plain, [Message(role=role, content=text) for role, text in turns])
    assert plain.decode(second.input_ids) == "a?\n\nA\n\nb?\n\n<|im_end|>"
    assert [plain.decode(sequence.labels) for sequence in (first, second)] == ["A<|im_end|>", "B<|im_end|>"]


def test_audit_marks_the_answer(plain, examples):
    shown = audit.trained_on(examples[:1], plain)
    assert shown.endswith(f"⟦{examples[0].reference}<|im_end|>⟧\n")


def test_answer_does_not_depend_on_its_batch(t5, plain, examples):
    def answered(some: list[Example]) -> list[Prediction]:
        limits = {"batch_size": 4, "max_new_tokens": 6, "likelihood_rows": len(some)}
        return answers.predict(LanguageModel(t5, plain), some, {"": ()}, "base_0shot", **limits)

    together = answered(examples)
    assert together == [answered([example])[0] for example in examples]
    assert all(0 < answer.new_tokens <= 6 for answer in together)


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_forced_logits_are_those_of_greedy_decoding(kind, t5, plain, weights, tokenizer, examples):
    model, own = (t5, plain) if kind == "encoder-decoder" else (loading.load_base(weights, "cpu").float(), tokenizer)
    prompt = chat.prompt_ids(own, examples[0].prompt)
    stops, new = chat.stop_ids(own), 5
    import torch

    out = model.generate(
        input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=new,
        min_new_tokens=new, do_sample=False, eos_token_id=stops, pad_token_id=own.pad_token_id,
    )[0].tolist()  # fmt: skip
    answer = out[1:] if kind == "encoder-decoder" else out[len(prompt) :]
    logits = likelihoods.forced(LanguageModel(model, own), prompt, answer).clone()
    assert len(logits) == new + 1
    logits[:, stops] = -torch.inf  # min_new_tokens forbids them
    assert logits[:-1].argmax(-1).tolist() == answer
