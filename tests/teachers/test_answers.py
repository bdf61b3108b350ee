"""Thoughts in a model's text are separated from its answer; a tag that the answer only mentions stays in it."""

import time

import pytest

from stages.teachers.answers import separated, unquoted


@pytest.mark.parametrize(
    "text",
    [
        "<think>hm</think>Yes.",
        "<think>\nhm\n</think>\n\nYes.",
        "\n <think>\nhm\n</think>\nYes.\n",
        "<THINK>hm</THINK>Yes.",
        "<thinking>hm</thinking>\nYes.",
        "<thought>hm</thought>Yes.",
        "<reasoning>\nhm\n</reasoning>\n\nYes.",
        "<seed:think>hm</seed:think>Yes.",
        "[THINK]hm[/THINK]Yes.",
        "◁think▷hm◁/think▷Yes.",
        "<|START_THINKING|>hm<|END_THINKING|>Yes.",
        "<|channel>thought\nhm<channel|>Yes.",
        "<longcat_think>hm</longcat_think>\nYes.",
        "<unused94>thought\nhm<unused95>Yes.",
        "<|inner_prefix|>hm<|inner_suffix|>Yes.",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        "<|channel|>commentary<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        "<|start|>assistant<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>Yes.",
        "Here is my thought process:\n\nhm\n\nHere is my response:\n\nYes.",
        "Here's my thought process: hm Here's my response: Yes.",
        '<details type="reasoning" done="true" duration="3">\nhm\n</details>\n\nYes.',
        "<analysis>\nhm\n</analysis>\nYes.",
        "<Reflection>hm</Reflection>\n<output>Yes.</output>",
        "<analysis></analysis>\n<think>hm</think>Yes.",
        "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>",
        "<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>Yes.<|end_of_solution|>",
        "<thinking>hm</thinking>\n<output>Yes.</output>",
        "<think>hm</think>Yes.<|im_end|>\n",
        "hm\n</think>\n\nYes.",
        "hm</think>Yes.",
        "<think>hm</think><answer>Yes.</answer>",
        "<think>hm</think>\n<answer>\nYes.\n</answer>",
        "<think></think>\n<think>hm</think>Yes.",
        "<think>hm</think>\nYes.\n<think>\n</think>",
        "Yes.\n<think>hm</think>",
    ],
)
def test_thoughts_are_separated_from_the_answer(text: str) -> None:
    assert separated(text) == ("hm", "Yes.")


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("<think>a</think><think>b</think>Yes.", "a\n\nb", "Yes."),
        ("<think>a <think>b</think> c</think>Yes.", "a <think>b\n\nc", "Yes."),
        ("<think>first 2\n</think>\n5\n</think>\nYes.", "first 2\n\n5", "Yes."),
        ("<think>hm, and on it goes", "hm, and on it goes", ""),
        ("<analysis>hm, and on it goes", "hm, and on it goes", ""),
        ("Here is my thought process: hm, and on", "hm, and on", ""),
        ('<details type="reasoning">\nhm, and on', "hm, and on", ""),
        ("<analysis>a</analysis>\n<reflection>b</reflection>\nYes.", "a\n\nb", "Yes."),
        ("<analysis>Not </reflection> yet</analysis>Yes.", "Not </reflection> yet", "Yes."),
        ("<|start|>assistant<|channel|>final<|message|>Yes.", "", "Yes."),
        ("analysisWe need it short.assistantfinalYes.", "We need it short.", "Yes."),
        ("analysisWe need it short, and on", "We need it short, and on", ""),
        ("assistantfinalYes.", "", "Yes."),
        ("<think>hm</think>", "hm", ""),
        ("</think>Yes.", "", "Yes."),
        ("Sure.\n<think>hm</think>\nYes.", "hm", "Sure.\n\nYes."),
        ("<think>Use `</think>` here.", "Use `", "` here."),
    ],
)
def test_thoughts_in_unusual_places(text: str, thoughts: str, answer: str) -> None:
    assert separated(text) == (thoughts, answer)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        " Yes.\n",
        "",
        "Use `<think>draft</think>` as an example.",
        "The model writes <think> and </think> around its thoughts.",
        "Its thoughts end with `</think>`.",
        'They end with "</think>".',
        "```xml\n<think>\nhm\n</think>\n```",
        "<answer>Yes.</answer>",
        "analysis of the costs: none",
        "An assistantfinally wrote <s>no</s>",
        "<thinker>hm</thinker>",
        "I think: <b>yes</b>",
        "[think] about it",
        "Sure.\n<analysis>\nhm\n</analysis>\nYes.",
        "The costs fell.</analysis>\nYes.",
        "<details>\n<summary>More</summary>\nYes.\n</details>\nNo.",
        "He wrote: Here is my thought process: hm. Here is my response: yes.",
        "Here is my response: yes.",
        "<analysis-2>hm</analysis-2> Yes.",
        "Write <reflection> first and </reflection> last.",
    ],
)
def test_text_without_thoughts_stays_as_it_is(text: str) -> None:
    assert separated(text) == ("", text)


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "<end_of_turn>\n",
        "<｜end▁of▁sentence｜>",
        "</s>",
        "[|endofturn|]",
        "<eos>",
        "<|eot|>",
        "</s></s>",
    ],
)
def test_token_that_ends_the_turn_is_removed(token: str) -> None:
    assert separated(f"Yes.{token}") == ("", "Yes.")
    assert separated(f"It is {token}, no?") == ("", f"It is {token}, no?")


@pytest.mark.parametrize(
    "unit",
    [
        *("<think></think>", "<think>", "</think>", "a <think>", "\n<think>", "```\n<think>", "<answer>", "</s> "),
        *("<analysis>", "<analysis></analysis>", "<details ", "<details type=", "Here is my thought process:", "\n"),
    ],
)
def test_many_tags_take_linear_time(unit: str) -> None:
    started = time.monotonic()
    separated(unit * 100_000)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Yes, it is."', "Yes, it is."),
        ("“Yes.”", "Yes."),
        ("„Ja.“", "Ja."),
        ("„Tak.”", "Tak."),
        ("«Oui.»", "Oui."),
        ("« Oui. »", "Oui."),
        ("»Ja.«", "Ja."),
        ("「はい。」", "はい。"),
        ("『好。』", "好。"),
        ("‹ Oui. ›", "Oui."),
        ("›Ja.‹", "Ja."),
        ("‚Ja.‘", "Ja."),
        ("‚Tak.’", "Tak."),
        ("”Joo.”", "Joo."),
        ("’Joo.’", "Joo."),
        ("»Joo.»", "Joo."),
        ("｢はい。｣", "はい。"),
        ("〝はい。〟", "はい。"),
        ("＂はい。＂", "はい。"),
        ("‘Yes.’", "Yes."),
        ("'I don't know.'", "I don't know."),
        ("‘I don’t know.’", "I don’t know."),
    ],
)
def test_quotes_around_a_text_are_removed(text: str, expected: str) -> None:
    assert unquoted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'She said "no" and left.',
        '"No" and "yes" are "answers"',
        '"No," he said, "never."',
        "“A” or “B”",
        "«A» ou «B»",
        "»A« oder »B«",
        "「A」か「B」",
        "‚A‘ oder ‚B‘",
        "『A」",
        "《论语》",
        '"',
        '""',
        '"No',
        "«No”",
        "'the boys' book'",
        "",
    ],
)
def test_quotes_around_a_part_stay(text: str) -> None:
    assert unquoted(text) == text
