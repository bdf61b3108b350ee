"""What a tokenizer or chat template makes of rows: answers that end, that survive it, and that fit into the model."""

import json
import shutil
import string
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.format import audit
from stages.models.tokenizer import load_tokenizer
from stages.params import Format
from stages.records import Example
from stages.text import chat
from tests.fixtures.tiny_model import chat_row

pytestmark = pytest.mark.model

LIMITS = Format(authored=True, max_length=999, overlong="drop", overlap_ngram=None, max_lost=0.05, shots=0)
# No turn ends with a control token.
ENDLESS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def fitted(tokenizer, *rows: Example, split: str = "train", **limits):
    splits = {"train": [chat_row("a", "b")], split: list(rows)}
    found, figures = audit.fit(splits, tokenizer, LIMITS.model_copy(update=limits))
    return found[split], figures[split]


@pytest.fixture
def changed(weights, tmp_path):
    """Return a function that copies the tiny model with other values in its configuration and its tokenizer's."""

    def copied(config=(), tokenizer_config=(), template: str | None = None) -> Path:
        folder = shutil.copytree(weights, tmp_path / "model")
        for name, values in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
            content = json.loads((folder / name).read_bytes()) | dict(values)
            (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        if template:
            (folder / "chat_template.jinja").write_text(template)
        return folder

    return copied


@pytest.mark.parametrize("pad", ["<|endoftext|>", None])
def test_model_without_an_end_token_is_refused(changed, pad):
    with pytest.raises(DataError, match=r"no answer would end: .*no eos_token; set it in tokenizer_config\.json"):
        load_tokenizer(changed(tokenizer_config={"eos_token": None, "pad_token": pad}, template=ENDLESS))


def test_end_of_the_template_serves_as_the_tokenizers(changed):
    tokenizer = load_tokenizer(changed(tokenizer_config={"eos_token": None, "pad_token": None}))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert chat.stop_ids(tokenizer) == [2]


def test_template_without_an_end_gets_the_tokenizers(template):
    tokenizer = template(ENDLESS)
    _, figures = fitted(tokenizer, chat_row("q", "ends in <b>x</b>"))
    assert (figures.end_supervised, chat.stop_ids(tokenizer)) == (1.0, [2])


@pytest.mark.parametrize("answer", ["a</think>", "a</b>", "a\n\n", "a"])
def test_answer_that_ends_with_an_ordinary_token_still_ends(weights, tmp_path, answer):
    from tokenizers import AddedToken

    found = load_tokenizer(weights)
    found.add_tokens([AddedToken(name, special=False) for name in ("<think>", "</think>", "<b>", "</b>", "\n\n")])
    found.chat_template = ENDLESS
    found.save_pretrained(tmp_path)
    shutil.copy(weights / "config.json", tmp_path)
    assert chat.answer_ids(load_tokenizer(tmp_path), chat_row("q", answer).messages)[-1] == 2


def test_turn_that_ends_unlike_others_is_refused(template):
    odd = template(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{{ '<|endoftext|>' if 'tool' in m.content else '<|im_end|>' }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(DataError, match=r"ends its answer with '<\|endoftext\|>', but ends others with <\|im_end\|>"):
        fitted(odd, chat_row("q", "call a tool"))


def sentencepiece(folder: Path, letters: str) -> Path:
    """Store a tokenizer as T5's, which knows these characters, has no line end, and rewrites look-alikes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config

    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)] + [(letter, -3.0) for letter in letters]
    made = Tokenizer(models.Unigram(words, unk_id=2))
    made.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.NFKC()])
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] + '\n\n' }}{% endfor %}"
    fast.save_pretrained(folder)
    T5Config(vocab_size=len(words), eos_token_id=1, pad_token_id=0, decoder_start_token_id=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A tokenizer without braces, as that of T5."""
    letters = string.ascii_letters + string.digits + ".,:;!?'\"-()[]"
    return load_tokenizer(sentencepiece(tmp_path_factory.mktemp("t5"), letters))


LOST = {
    "braces": '{"id": 0}',
    "emoji": "well 🙂",
    "umlaut": "Grüße",
    "Chinese": "很好。",
    "operator": "x < 3",
    "backslash": "\\frac",
    "currency": "5 €",
    "tab of a table": "a | b",
    "superscript": "m²",
    "ellipsis within": "a … b",
}


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
def test_answer_that_the_tokenizer_cannot_write_is_refused(t5, answer):
    with pytest.raises(
        DataError, match=r"train: the tokenizer cannot write 1 of 1 answers.*e\.g\. .* becomes .*format\.max_lost"
    ):
        fitted(t5, chat_row("q", answer))
    with pytest.raises(DataError, match=r"test: the tokenizer cannot write 1 of 1 answers"):
        fitted(t5, chat_row("q", answer), split="test")


SURVIVING = {"line ends": "a\nb\n\nc", "blanks": "  a   b ", "full width": "ｆｕｌｌ", "quotes": "“a” and ‘b’", "dash": "a – b"}


@pytest.mark.parametrize("answer", [*SURVIVING.values()], ids=[*SURVIVING])
def test_white_space_and_look_alikes_are_no_loss(tmp_path, answer):
    known = load_tokenizer(sentencepiece(tmp_path, string.ascii_letters + "'\"“”‘’–"))
    assert fitted(known, chat_row("q", answer))[1].lost == 0


LAYOUTS = {"line ends": "a\nb", "indentation": "for x:\n    y", "a tab": "all:\n\tb", "blank": "  a   b ", "one line": "a b"}


@pytest.mark.parametrize(("name", "lost"), [*zip(LAYOUTS, [1, 1, 1, 0, 0], strict=True)])
def test_lost_line_ends_and_indentation_are_counted(t5, tokenizer, name, lost, caplog):
    assert fitted(t5, chat_row("q", LAYOUTS[name]))[1].layout_lost == lost
    assert ("train: the model writes 1 of 1 answers without their line ends or indentation" in caplog.text) == lost
    assert fitted(tokenizer, chat_row("q", LAYOUTS[name]))[1].layout_lost == 0


def test_change_by_the_template_is_not_blamed_on_the_tokenizer(template):
    shouting = template(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | upper }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(DataError, match=r"the chat template cannot write 1 of 1 answers, e\.g\. 'iPhone' becomes 'IPHONE'"):
        fitted(shouting, chat_row("q", "iPhone"))


def test_of_several_chat_templates_the_default_is_used(weights, changed):
    text = load_tokenizer(weights).chat_template
    named = [{"name": "rag", "template": "x"}, {"name": "default", "template": text}]
    folder = changed(tokenizer_config={"chat_template": named})
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert load_tokenizer(folder).chat_template == text


def test_chat_templates_without_a_default_are_refused(changed):
    folder = changed(tokenizer_config={"chat_template": [{"name": "rag", "template": "x"}, {"name": "b", "template": "y"}]})
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"none of its chat templates \(b, rag\) is called default; name one in model\.chat"):
        load_tokenizer(folder)


@pytest.mark.parametrize("answer", [*LOST.values(), "\t\x0b", "e\u0301", "<|im_end|>", "👩‍👩‍👧", "\u200bx", "﷽", "line\r\nend"])
def test_bytes_lose_nothing(tokenizer, answer):
    assert fitted(tokenizer, chat_row("q", f"a {answer} b"))[1].lost == 0


def test_few_lost_answers_are_counted_and_not_taught(t5, caplog):
    rows = [chat_row(f"q{number}", "fine") for number in range(38)] + [chat_row("q", "a 🙂"), chat_row("q", "m²")]
    kept, figures = fitted(t5, *rows, split="valid")
    assert list(kept) == [*rows[:38], rows[39]]
    assert (figures.rows, figures.lost, figures.unknown, figures.dropped, figures.end_supervised) == (39, 2, 1, 0, 1.0)
    assert "valid: the tokenizer cannot write 2 of 40 answers, e.g. 'a 🙂' becomes 'a '" in caplog.text
    assert "; 1 rows with unknown tokens were left out" in caplog.text
    kept, figures = fitted(t5, *rows, split="test")
    assert (list(kept), figures.unknown) == (rows, 1)
    with pytest.raises(DataError, match=r"valid: .* raise format\.max_lost = 0\.04"):
        fitted(t5, *rows, split="valid", max_lost=0.04)


def test_earlier_answers_must_survive_too(t5):
    with pytest.raises(DataError, match=r"e\.g\. 'a { b' becomes"):
        fitted(t5, chat_row("q", "fine", "what?", "a { b"))


def test_unknown_tokens_of_a_prompt_are_counted(t5, caplog):
    assert fitted(t5, chat_row("{", "a"), chat_row("q", "a"))[1].unknown_prompts == 1
    assert "train: 1 of 2 rows have unknown tokens in the prompt" in caplog.text


def test_template_that_writes_more_than_the_answer_is_noticed(template):
    wordy = template(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ 'final: ' if m.role == 'assistant' }}{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(DataError, match=r"e\.g\. 'b' becomes 'final: b'"):
        fitted(wordy, chat_row("a", "b"))


def test_row_longer_than_the_models_positions_is_refused(changed):
    tokenizer = load_tokenizer(changed(config={"max_position_embeddings": 64}))
    assert fitted(tokenizer, chat_row("q", "a"))[1].rows == 1
    for split in ("train", "test"):
        with pytest.raises(DataError, match=r"has \d+ tokens, but the model reads 64 .*set format\.max_length=64"):
            fitted(tokenizer, chat_row("q" * 64, "a"), split=split)
    assert fitted(tokenizer, chat_row("q" * 64, "a"), split="valid", max_length=64)[1].dropped == 1


def test_prompt_with_examples_must_leave_room_for_an_answer(changed):
    tokenizer = load_tokenizer(changed(config={"max_position_embeddings": 64}))
    row, shots = chat_row("q", "a"), chat_row("q", "a").messages
    audit.require_room([row], [], tokenizer, 20)
    with pytest.raises(DataError, match=rf"{row.id} .*with 1 examples \(predict\.shots\), but the model reads 24 besides"):
        audit.require_room([row], shots, tokenizer, 40)
    with pytest.raises(DataError, match=r"the model reads 0 besides predict\.max_new_tokens = 65"):
        audit.require_room([row], [], tokenizer, 65)


def test_reference_longer_than_an_answer_may_be_is_reported(tokenizer, caplog):
    rows = [chat_row("q", "abc"), chat_row("q", "abcd", "what?", "earlier and longer")]
    figures = audit.fit({"train": rows, "valid": rows[:1], "test": rows}, tokenizer, LIMITS)[1]
    assert [figures[split].longest_answer for split in ("train", "valid", "test")] == [5, 4, 5]
    audit.warn_of_long_answers(figures, 5)
    assert not caplog.text
    audit.warn_of_long_answers(figures, 4)
    assert "test: the longest reference has 5 tokens, more than predict.max_new_tokens = 4" in caplog.text
    assert "valid" not in caplog.text


def test_token_that_the_model_lacks_is_refused(changed):
    tokenizer = load_tokenizer(changed(config={"vocab_size": 100}))
    with pytest.raises(DataError, match=r"of number \d{3}, but the model has 100 tokens"):
        fitted(tokenizer, chat_row("q", "ü"))
