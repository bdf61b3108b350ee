"""Headlines that no row of the split has are refused once the rows are known."""

from typing import Any

import pytest

from stages.errors import DataError
from stages.fetch import headline
from stages.records import UNANSWERABLE, Style, Task
from stages.slices import OUT_OF_DOMAIN


def task(**fields: Any) -> Task:
    return Task.model_validate({"kind": "text", "input": "q", "output": "a", "source": "s"} | fields)


ANSWERABLE, DECLINED = task(slices=("answerable",)), task(slices=(UNANSWERABLE,))
OUTSIDE = task(slices=(OUT_OF_DOMAIN,))
RECORD = task(kind="extraction", output='{"email": "a@example.org"}')
SHORT = task(style=Style(max_words=9), dataset="notes")


@pytest.mark.parametrize(
    ("rows", "named", "message"),
    [
        (
            [ANSWERABLE],
            "declined",
            "the test split has no such metric; there are exact_match, token_f1, rouge_l, answered, stop",
        ),
        ([DECLINED], "token_f1", "has no such metric; there are declined, stop_rate"),
        ([OUTSIDE], "token_f1", "has no such metric; there are declined, stop_rate"),
        ([ANSWERABLE], "declined@unanswerable", "has no such metric"),
        ([ANSWERABLE], "token_f1@unanswerable", "has no slice unanswerable; there are answerable"),
        (
            [RECORD],
            "emial_exact",
            "there are field_exact, record_exact, field_exact_lenient, json_valid, json_found, schema_valid, email_exact",
        ),
        ([SHORT], "required_phrases", "there are exact_match, token_f1, rouge_l, answered, length_in_band, stop_rate"),
        ([SHORT, ANSWERABLE], "length_in_band@answerable", "rows of the slice answerable have no length_in_band"),
    ],
)
def test_headline_that_no_row_has_is_refused(rows: list[Task], named: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        headline.require(named, "test", rows)
    assert str(refused.value).startswith(f"report.headline = {named}: ") and message in str(refused.value)


@pytest.mark.parametrize("named", ["declined", "token_f1@answerable", "email_exact", "length_in_band@notes", "stop_rate"])
def test_headline_that_one_row_has_is_accepted(named: str) -> None:
    headline.require(named, "test", [ANSWERABLE, DECLINED, RECORD, SHORT])
