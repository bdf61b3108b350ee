"""Which headlines, and metrics of the gate, the parameters alone rule out, where rows differ by slice or data set."""

import pytest

from stages import params
from stages.errors import DataError
from stages.params import compose
from stages.params.results import Report

GRAPH = ("data=medical", "synthesis=self_kg")
MIX = ("data=several_tasks", "synthesis=none")
WORDED = ("data=dialogue_worded", "synthesis=none")


@pytest.mark.parametrize(
    ("overrides", "headline"),
    [
        (GRAPH, "declined@unanswerable"),
        (("experiment=handbook",), "declined@out_of_domain"),
        (GRAPH, "token_f1@open"),
        (GRAPH, "logprob_accuracy@new_entities"),
        (MIX, "accuracy@questions"),
        (WORDED, "rouge_l@wording_2"),
        ((), "email_exact@noise"),
        (("predict.split=valid",), "name_exact@accents"),
    ],
)
def test_headline_of_a_slice_that_can_be_is_accepted(overrides: tuple[str, ...], headline: str) -> None:
    params.check(compose.composed(*overrides, f"report.headline={headline}"))


def test_headline_may_hold_any_character_of_a_name() -> None:
    report = params.check(compose.composed()).report.model_dump()
    for headline in ("accuracy@my-set.v2_wording_1", "first-name_exact"):
        assert Report.model_validate(report | {"headline": headline}).headline == headline


@pytest.mark.parametrize(
    ("overrides", "headline", "message"),
    [
        ((*GRAPH, "data.rows.test.unanswerable=0"), "declined", "data.kind = graph has no such metric"),
        (GRAPH, "accuracy@open", "rows of the slice open have no accuracy; they have exact_match"),
        (MIX, "accuracy@topic", "data.kind = mix has no slice topic; there are "),
        (MIX, "macro_f1@questions", "data.kind = mix has no such metric"),
        (WORDED, "rouge_l@wording_9", "there are wording_1, wording_2"),
        (
            (),
            "name_exact@accents",
            "data.kind = complaints has no slice accents; there are clean, missing, second_email, noise",
        ),
    ],
)
def test_headline_of_a_slice_that_cannot_be_is_refused(overrides: tuple[str, ...], headline: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        params.check(compose.composed(*overrides, f"report.headline={headline}"))
    assert str(refused.value).startswith(f"report.headline = {headline}: ") and message in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "gate"),
    [
        ((), "{record_exact: 0.02, bits_per_byte: 0.01, choice_accuracy: 0.05, refusal_rate: 1}"),
        (("retention.texts=0",), "{field_exact@noise: 0.02, stop_rate: 0.1}"),
        ((*MIX, "report.headline=accuracy@questions"), "{accuracy: 0.02}"),
        ((), "{}"),
        ((), "null"),
    ],
)
def test_gate_of_metrics_that_can_be_is_accepted(overrides: tuple[str, ...], gate: str) -> None:
    params.check(compose.composed(*overrides, f"report.gate={gate}"))


@pytest.mark.parametrize(
    ("overrides", "gate", "message"),
    [
        (
            (),
            "record: 0.02",
            "report.gate.record: data.kind = complaints has no such metric; there are field_exact, record_exact",
        ),
        ((), "recall: 0.02", "general abilities have bits_per_byte, choice_accuracy, refusal_rate"),
        ((), "name_exact@accents: 0.02", "report.gate.name_exact@accents: data.kind = complaints has no slice accents"),
        ((), "bits_per_byte@clean: 0.02", "report.gate.bits_per_byte@clean: data.kind = complaints has no such metric"),
        ((), "field_exact: 0.02", "report.gate.field_exact: it is report.headline, which report.margin judges; leave it out"),
        (("retention.texts=5",), "bits_per_byte: 0.02", "retention.texts = 5: of fewer than 6 texts no loss is significant"),
        ((), "record_exact: 0", "report.gate.record_exact = 0: input should be greater than 0"),
        ((), "record_exact: 2", "report.gate.record_exact = 2: input should be less than or equal to 1"),
        ((), "record_exact: high", "report.gate.record_exact = 'high': input should be a valid number"),
    ],
)
def test_gate_of_metrics_that_cannot_be_is_refused(overrides: tuple[str, ...], gate: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        compose.composed(*overrides, f"report.gate={{{gate}}}")
    assert str(refused.value).startswith("report.gate.") and message in str(refused.value)
