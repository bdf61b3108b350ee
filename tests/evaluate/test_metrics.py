"""What every answer is measured by, whatever the task, and what is shown of a whole system."""

from math import log
from typing import Any

import pytest

from stages import formatting
from stages.evaluate import metrics
from stages.params import headline
from stages.records import Style

KINDS = {
    "extraction": (
        '{"name": "Ann"}',
        {"json_valid", "json_found", "schema_valid", "field_exact", "field_exact_lenient", "record_exact", "name_exact"},
    ),
    "text": ("Late.", {"exact_match", "token_f1", "rouge_l", "answered"}),
    "choice": ("yes", {"accuracy"}),
    "classification": ("yes", {"accuracy"}),
    "summary": ("Late again.", {"rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "rouge_w", "rouge_s"}),
    "translation": ("Zu spät.", {"sentence_chrf", "sentence_bleu"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stopped", [True, False])
def test_the_kind_of_task_decides_the_scores(kind: str, stopped: bool, item: Any) -> None:
    reference, names = KINDS[kind]
    choices = ("yes", "no") if reference == "yes" else ()
    for text in (reference, "", "late {", '{"name": ["Ann", {}]}', "👍", "\x00"):
        example, given = item(kind, reference, text, stopped, choices=choices)
        scores, measures = metrics.score(example, given)
        assert scores.keys() == names | {"stop_rate"}
        assert all(0 <= value <= 1 for value in scores.values())
        assert scores["stop_rate"] == float(stopped)
        assert measures["empty"] == float(text == "")
        metrics.totals([example], [given])


def test_totals_are_also_those_of_each_data_set(item: Any) -> None:
    labels = {"news": ("sport", "weather"), "mail": ("spam", "ham")}
    rows = [
        item("classification", label, label if name == "news" else "spam", choices=choices, dataset=name)
        for name, choices in labels.items()
        for label in choices
    ]
    examples, answers = zip(*rows, strict=True)
    found = metrics.by_dataset(examples, answers, [])
    assert found["macro_f1@news"] == 1.0 and found["macro_f1@mail"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["macro_f1"] not in (found["macro_f1@mail"], 1.0)
    plain = [example.model_copy(update={"dataset": ""}) for example in examples]
    assert metrics.by_dataset(plain, answers, []) == metrics.totals(examples, answers)


def test_measures_of_form(item: Any) -> None:
    _, measures = metrics.score(*item("text", "one two three", "so it is so it is"))
    assert measures["length_ratio"] == 2.0
    assert measures["repetition"] == 1 / 4
    assert "length_ratio" not in metrics.score(*item("text", "", "so it is"))[1]


def test_likelihood_of_references_per_token_and_per_byte(item: Any) -> None:
    rows = [
        item("text", "late", "x", reference_logprob=-8 * log(2), reference_tokens=2),
        item("text", "你好", "x", reference_logprob=-12 * log(2), reference_tokens=3),
    ]
    assert {key: metrics.score(*rows[1])[1][key] for key in ("bits", "bytes")} == pytest.approx({"bits": 12, "bytes": 6})
    found = metrics.totals(*zip(*rows, strict=True))
    assert found["bits_per_byte"] == 2.0
    assert found["perplexity"] == 16.0


def test_long_answers_weigh_more_in_the_length_ratio(item: Any) -> None:
    rows = [item("text", "one two three four", "a b c d e f"), item("text", "one", ""), item("text", "one", "a b c")]
    found = metrics.totals(*zip(*rows, strict=True))
    assert (found["length_ratio"], found["empty"]) == (1.5, pytest.approx(1 / 3, abs=1e-6))
    assert "perplexity" not in found


def test_tasks_of_several_kinds_have_the_totals_of_each(item: Any) -> None:
    rows = [item("translation", "Zu spät.", "Zu spät."), item("classification", "yes", "no", choices=("yes", "no"))]
    assert metrics.totals(*zip(*rows, strict=True)).keys() >= {"bleu", "chrf", "macro_f1", "length_ratio"}


def test_every_total_has_its_name_unit_and_direction(item: Any) -> None:
    """TOTALS names no other; those of fields and ROUGE are known by their ends."""
    closed = {"choice_logprobs": (-1.0, -2.0), "choice_tokens": (1, 1)}
    more = {"reference_logprob": -1.0, "reference_tokens": 1}
    rows = [item("choice", "yes", "yes", choices=order, **closed, **more) for order in (("yes", "no"), ("no", "yes"))]
    written = set(metrics.totals(*zip(*rows, strict=True)))
    for kind, (reference, _) in KINDS.items():
        asked = closed | {"choices": ("yes", "no")} if reference == "yes" else {}
        rows = [item(kind, reference, "late", **asked, **more), item("text", "no", "no", slices=("unanswerable",))]
        written |= set(metrics.totals(*zip(*rows, strict=True)))
    assert {name for name in written if not name.endswith(formatting.SHARES)} | {"macro_f1"} == set(formatting.TOTALS)


def test_questions_count_once_in_all_their_orders(item: Any) -> None:
    orders = (("yes", "no"), ("no", "yes"))
    quiz = [item("choice", "yes", "yes", choices=order, source=source) for source in ("a", "b", "c") for order in orders]
    rows = [*quiz, item("text", "Late.", "Late."), item("classification", "yes", "no", choices=("yes", "no"))]
    assert metrics.totals(*zip(*rows, strict=True))["questions"] == 5
    assert "questions" not in metrics.totals(*zip(*quiz[::2], strict=True))


@pytest.mark.parametrize(
    ("style", "answer", "expected"),
    [
        (Style(min_words=2, max_words=3), "one two three", {"length_in_band": 1.0}),
        (Style(min_words=2), "one", {"length_in_band": 0.0}),
        (Style(max_words=3), "你好世界", {"length_in_band": 0.0}),
        (Style(required=("Thank you", "order")), "thank YOU for the order", {"required_phrases": 1.0}),
        (Style(required=("Thank you", "order")), "thank you", {"required_phrases": 0.0}),
        (Style(required=("Cafe\u0301", "don't")), "Café, I don’t know", {"required_phrases": 1.0}),
        (Style(forbidden=("guarantee",)), "We Guarantee it.", {"no_forbidden_phrases": 0.0}),
        (Style(), "anything", {}),
    ],
)
def test_a_style_asks_only_for_what_it_names(style: Style, answer: str, expected: dict[str, float], item: Any) -> None:
    scores, _ = metrics.score(*item("text", "x", answer, style=style))
    names = {"length_in_band", "required_phrases", "no_forbidden_phrases"}
    assert {name: scores[name] for name in names & scores.keys()} == expected


@pytest.mark.parametrize("kind", headline.METRICS)
def test_headlines_that_are_accepted_are_those_of_the_task(kind: str, item: Any) -> None:
    """A metric is known to validate if an answer of this task has it; here one whose choices have likelihoods."""
    reference = KINDS[kind][0]
    more = {"choices": ("yes", "no"), "choice_logprobs": (-1.0, -2.0), "choice_tokens": (1, 1)} if reference == "yes" else {}
    known = set(metrics.score(*item(kind, reference, reference, **more))[0])
    accepted = {*headline.METRICS[kind], *headline.EVERY} - {headline.FIELD}
    assert {name for name in known if not (kind == "extraction" and name.endswith("_exact"))} <= accepted <= known


def test_headline_of_an_unanswerable_row_is_declined(item: Any) -> None:
    scores, _ = metrics.score(*item("text", "no", "no", slices=("unanswerable",)))
    assert scores.keys() == {*headline.DECLINED, *headline.EVERY}
