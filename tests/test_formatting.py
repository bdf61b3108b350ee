"""Numbers as pages show them."""

from stages import formatting


def test_memory_is_in_gib_and_files_in_decimal_units() -> None:
    assert formatting.gib(14.741) == "14.741\u202fGiB"
    assert formatting.size(9_790_000) == "9.8\u202fMB"


def test_a_total_has_its_unit_and_direction() -> None:
    assert formatting.total_name("brier") == "Brier score (0 to 2, lower is better)"
    assert formatting.total_name("macro_f1@my_set-1.0") == "macro F1 on my set-1.0 (0 to 1, higher is better)"
    assert formatting.total_name("email_f1") == "email f1 (0 to 1, higher is better)"
    assert formatting.total_name("meteor") == "meteor"


def test_rows_name_their_questions_in_several_orders() -> None:
    assert formatting.row_count(1040, None) == "1,040 rows"
    assert formatting.row_count(48, 24) == "48 rows (24 questions, in 2 orders on average)"
    assert formatting.row_count(58, 34.0) == "58 rows (34 questions, in 1.71 orders on average)"


def test_count_has_no_exponent() -> None:
    assert [formatting.figure(value) for value in (12345, 0.01234, 8.0, 1.5e12)] == ["12,345", "0.01234", "8", "1.5e+12"]


def test_a_total_with_an_interval_shows_it() -> None:
    assert formatting.bounds({"share": 0.5, "share_lo": 0.25, "share_hi": 0.75, "other": 2.0}, "share") == " [0.25, 0.75]"
    assert formatting.bounds({"share": 0.5, "other": 2.0}, "other") == ""
