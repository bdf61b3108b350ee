"""The slices of questions whose right answer is to decline; a row is in at most one of them."""

from collections.abc import Iterable

from stages.records import UNANSWERABLE

OUT_OF_DOMAIN = "out_of_domain"  # about something else than the documents, which UNANSWERABLE questions are about
TO_DECLINE = (UNANSWERABLE, OUT_OF_DOMAIN)


def is_to_decline(slices: Iterable[str]) -> bool:
    """Return whether the right answer to a row in these slices is to decline."""
    return not set(TO_DECLINE).isdisjoint(slices)
