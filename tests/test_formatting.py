"""Numbers as pages show them."""

from stages import formatting


def test_memory_is_in_gib_and_files_in_decimal_units() -> None:
    assert formatting.gib(14.741) == "14.741\u202fGiB"
    assert formatting.size(9_790_000) == "9.8\u202fMB"


def test_a_total_with_an_interval_shows_it() -> None:
    assert formatting.bounds({"share": 0.5, "share_lo": 0.25, "share_hi": 0.75, "other": 2.0}, "share") == " [0.25, 0.75]"
    assert formatting.bounds({"share": 0.5, "other": 2.0}, "other") == ""
