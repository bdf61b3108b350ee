"""The numbers of details.json and metrics.json, from scores small enough to check by hand."""

import json
from typing import Any

import numpy as np
import pytest

from stages import params
from stages.errors import DataError
from stages.records import Example, Message, Score
from stages.report import item_scores, results, summary

EXAMPLES = [
    Example(
        kind="text",
        messages=(Message(role="user", content=str(number)), Message(role="assistant", content="yes")),
        source=f"document {number // 2}",
        slices=("hard",) if number % 2 else ("clean",),
    )
    for number in range(4)
]


def scores(system: str, *exact: float) -> list[Score]:
    return [
        Score(example=e.id, system=system, source=e.source, slices=e.slices, scores={"exact_match": x, "stop_rate": 1.0})
        for e, x in zip(EXAMPLES, exact, strict=True)
    ]


BASES = [*scores("base_0shot", 0, 0, 1, 0), *scores("base_3shot", 0, 1, 0, 1)]


def table(*tuned: Score, seeds: tuple[int, ...] = (42,)) -> item_scores.Table:
    return item_scores.tabulate([*BASES, *tuned], EXAMPLES, ["base_0shot", "base_3shot"], {s: f"tuned_{s}" for s in seeds})


def summarize(table: item_scores.Table, headline: str = "exact_match") -> dict[str, Any]:
    found = summary.summarize(table, headline, resamples=200, seed=1, split="test", margin=0.05)
    return results.results(found, {}, {}, {}).content()


def test_numbers_of_a_small_example() -> None:
    metrics = summarize(table(*scores("tuned_42", 1, 1, 1, 0)))
    assert metrics["tuned"]["exact_match"] == 0.75
    assert (metrics["tuned"]["n"], metrics["tuned"]["clusters"]) == (4, 2)
    assert metrics["tuned"]["stop_rate"] == 1.0
    assert metrics["tuned"]["stop_rate_lo"] == round(0.025**0.25, 6)
    assert metrics["base_0shot"]["exact_match"] == 0.25
    assert metrics["difference"]["against"] == "base_3shot"
    assert metrics["difference"]["exact_match"] == 0.25
    # The clusters' summed differences are 1 and 0: of the flips of the one that is not 0, all reach |1|.
    assert metrics["difference"]["exact_match_p"] == 1.0
    assert metrics["difference"]["exact_match_verdict"] == "underpowered"
    assert metrics["difference"]["exact_match_rows_needed"] > 100
    assert metrics["slices"]["hard"]["tuned"]["exact_match"] == 0.5
    assert metrics["slices"]["hard"]["base_3shot"]["exact_match"] == 1.0
    assert metrics["slices"]["clean"]["tuned"]["n"] == 2
    assert metrics["split"] == "test"
    assert "seeds" not in metrics


def test_data_sets_of_a_mixture_have_their_own_metrics() -> None:
    kinds = ("exact_match", "exact_match", "accuracy", "accuracy")
    examples = [e.model_copy(update={"dataset": "one" if place < 2 else "two"}) for place, e in enumerate(EXAMPLES)]

    def scored(system: str, *values: float) -> list[Score]:
        return [
            Score(
                example=e.id, system=system, source=e.source, slices=(*e.slices, e.dataset), scores={kind: value, "stop": 1.0}
            )
            for e, kind, value in zip(examples, kinds, values, strict=True)
        ]

    every = [*scored("base_0shot", 0, 0, 0, 1), *scored("tuned_42", 1, 0, 1, 1)]
    mixture = item_scores.tabulate(every, examples, ["base_0shot"], {42: "tuned_42"})
    found = summarize(mixture, headline="stop")
    one, two = found["datasets"]["one"], found["datasets"]["two"]
    assert (one["tuned"]["exact_match"], one["base_0shot"]["exact_match"], one["tuned"]["n"]) == (0.5, 0, 2)
    assert (two["tuned"]["accuracy"], two["base_0shot"]["accuracy"]) == (1, 0.5)
    assert "accuracy" not in one["tuned"] and found["slices"].keys() == {"hard", "clean"}
    assert "datasets" not in summarize(table(*scores("tuned_42", 1, 1, 1, 0)))
    for headline in ("exact_match@one", "stop@hard"):  # the metrics of a data set, none of them twice
        assert summarize(item_scores.with_slice(mixture, headline), headline)["datasets"] == found["datasets"]


def test_seeds_are_averaged_by_item_with_their_spread() -> None:
    metrics = summarize(table(*scores("tuned_1", 1, 1, 1, 1), *scores("tuned_2", 1, 0, 1, 0), seeds=(1, 2)))
    assert metrics["tuned"]["exact_match"] == 0.75
    assert metrics["tuned"]["exact_match_sd"] == round(0.5 / 2**0.5, 6)
    assert metrics["tuned"]["stop_rate_sd"] == 0
    assert metrics["seeds"] == {"1": {"exact_match": 1.0, "stop_rate": 1.0}, "2": {"exact_match": 0.5, "stop_rate": 1.0}}


def test_of_equal_base_systems_the_first_listed_is_the_best() -> None:
    assert summarize(table(*scores("tuned_42", 1, 1, 1, 0)), headline="stop_rate")["difference"]["against"] == "base_0shot"


def test_one_more_metric_leaves_the_others_unchanged() -> None:
    small = table(*scores("tuned_42", 1, 1, 1, 0))
    wide = item_scores.Table(
        **{
            **vars(small),
            "metrics": ("extra", *small.metrics),
            "values": {system: np.c_[np.zeros(4), values] for system, values in small.values.items()},
        }
    )
    before, after = summarize(small), summarize(wide)
    kept = [key for key in before["difference"] if not key.endswith("_p_holm")]
    assert {key: after["difference"][key] for key in kept} == {key: before["difference"][key] for key in kept}


def test_the_p_value_of_the_headline_is_not_adjusted() -> None:
    examples = [Example(kind="text", messages=EXAMPLES[0].messages, source=f"document {number}") for number in range(6)]
    rows = [
        Score(example=e.id, system=system, source=e.source, scores=dict.fromkeys(("exact_match", "token_f1", "rougeL"), value))
        for system, value in (("base_0shot", 0.0), ("tuned_42", 1.0))
        for e in examples
    ]
    difference = summarize(item_scores.tabulate(rows, examples, ["base_0shot"], {42: "tuned_42"}))["difference"]
    assert difference["exact_match_p"] == difference["token_f1_p"] == 2 / 2**6
    assert difference["exact_match_p_holm"] == difference["token_f1_p_holm"] == 3 * 2 / 2**6
    assert difference["exact_match_verdict"] == "better"
    assert difference["token_f1_verdict"] == "underpowered"


def test_a_headline_may_be_a_metric_of_one_slice() -> None:
    headline = "exact_match@hard"
    sliced = item_scores.with_slice(table(*scores("tuned_42", 0, 1, 0, 1)), headline)
    metrics = summarize(sliced, headline)
    assert metrics["difference"]["against"] == "base_3shot"  # right on both hard rows, as base_0shot on neither
    assert (metrics["tuned"][headline], metrics["tuned"][f"{headline}_n"]) == (1.0, 2)
    assert metrics["difference"][headline] == 0.0
    assert metrics["tuned"]["exact_match"] == 0.5
    assert metrics["slices"]["clean"]["tuned"]["exact_match"] == 0.0
    assert headline in item_scores.items(sliced)[1]["metrics"]
    assert headline not in item_scores.items(sliced)[0]["metrics"]
    with pytest.raises(DataError, match=r"exact_match@soft: no row is in the slice soft; there are clean, hard"):
        summarize(item_scores.with_slice(sliced, "exact_match@soft"), "exact_match@soft")


def test_a_metric_averages_the_items_it_applies_to() -> None:
    def without_last(rows: list[Score]) -> list[Score]:
        last = rows[-1].model_dump(exclude={"id"}) | {"scores": {"stop_rate": 1.0}}
        return [*rows[:-1], Score(**last)]

    rows = [row for system in ("base_0shot", "tuned_42") for row in without_last(scores(system, 1, 0, 1, 1))]
    metrics = summarize(item_scores.tabulate(rows, EXAMPLES, ["base_0shot"], {42: "tuned_42"}))
    assert metrics["tuned"]["exact_match"] == round(2 / 3, 6)
    assert (metrics["tuned"]["exact_match_n"], metrics["tuned"]["n"]) == (3, 4)


def test_items_hold_scores_of_every_system_and_no_text() -> None:
    first = item_scores.items(table(*scores("tuned_42", 1, 1, 1, 0)))[0]
    assert first == {
        "id": EXAMPLES[0].id,
        "source": "document 0",
        "slices": ["clean"],
        "metrics": ["exact_match", "stop_rate"],
        "scores": {"base_0shot": [0.0, 1.0], "base_3shot": [0.0, 1.0], "tuned_42": [1.0, 1.0]},
    }


def test_items_leave_out_metrics_that_apply_to_no_system() -> None:
    made = table(*scores("tuned_42", 1, 1, 1, 0))
    made.values["tuned_42"][0, 0] = np.nan
    for system in made.bases:
        made.values[system][1, 1] = np.nan
    made.values["tuned_42"][1, 1] = np.nan
    first, second = item_scores.items(made)[:2]
    assert first["scores"] == {"base_0shot": [0.0, 1.0], "base_3shot": [0.0, 1.0], "tuned_42": [None, 1.0]}
    assert (second["metrics"], second["scores"]["tuned_42"]) == (["exact_match"], [1.0])


def test_scores_of_other_seeds_are_ignored() -> None:
    tuned = scores("tuned_42", 1, 1, 1, 0)
    assert summarize(table(*tuned, *scores("tuned_7", 0, 0, 0, 0))) == summarize(table(*tuned))


def test_an_unknown_headline_lists_the_metrics() -> None:
    with pytest.raises(DataError, match=r"report\.headline = rougeL: not among the metrics; there are exact_match, stop_rate"):
        summarize(table(*scores("tuned_42", 1, 1, 1, 0)), headline="rougeL")


@pytest.mark.parametrize(
    ("tuned", "complaint"),
    [
        (scores("tuned_42", 1, 1, 1, 0)[:3], f"tuned_42 lacks 1 of 4 examples, the first is {EXAMPLES[3].id}"),
        (scores("tuned_42", 1, 1, 1, 0) * 2, f"tuned_42 scored {EXAMPLES[0].id} twice"),
        ([], "tuned_42 lacks 4 of 4"),
    ],
)
def test_missing_or_doubled_scores_are_refused(tuned: list[Score], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        table(*tuned)


def test_scores_of_another_test_set_are_refused() -> None:
    with pytest.raises(DataError, match=r"base_0shot scored ex-.*, which is not in the split"):
        item_scores.tabulate(BASES, EXAMPLES[:3], ["base_0shot"], {})


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="the split is empty"):
        item_scores.tabulate([], [], ["base_0shot"], {42: "tuned_42"})


def test_balanced_declining_has_an_interval() -> None:
    kinds = ({"answered": 1.0}, {"answered": 0.0}, {"declined": 1.0}, {"declined": 1.0})
    rows = [
        Score(example=e.id, system=system, source=e.source, slices=(), scores=own)
        for system in ("base_0shot", "tuned_42")
        for e, own in zip(EXAMPLES, kinds, strict=True)
    ]
    made = item_scores.tabulate(rows, EXAMPLES, ["base_0shot"], {42: "tuned_42"})
    found = summary.with_interval({"decline_balanced": 0.75, "perplexity": 2.0}, made, "tuned_42")
    rates = summarize(made, "declined")["tuned"]
    assert found["decline_balanced_lo"] == pytest.approx(
        0.75 - np.hypot(0.5 - rates["answered_lo"], 1 - rates["declined_lo"]) / 2, abs=1e-5
    )
    assert found["decline_balanced_hi"] == pytest.approx(0.75 + (rates["answered_hi"] - 0.5) / 2, abs=1e-5)
    assert summary.with_interval({"perplexity": 2.0}, made, "tuned_42") == {"perplexity": 2.0}


def test_questions_to_decline_are_shown_by_slice() -> None:
    def declining(*kinds: str) -> item_scores.Table:
        declined = {"base_0shot": (0.0, 0.0, 0.0), "tuned_42": (1.0, 0.0, 1.0)}
        rows = [
            Score(example=e.id, system=system, source=e.source, slices=(kind,), scores={"declined": value})
            for system, values in declined.items()
            for e, kind, value in zip(EXAMPLES, kinds, values, strict=False)
        ]
        return item_scores.tabulate(rows, EXAMPLES[:3], ["base_0shot"], {42: "tuned_42"})

    made = item_scores.with_declined(declining("unanswerable", "unanswerable", "out_of_domain"))
    tuned = summarize(made, "declined")["tuned"]
    assert made.metrics == ("declined", "declined@unanswerable", "declined@out_of_domain")
    assert (tuned["declined@unanswerable"], tuned["declined@unanswerable_n"]) == (0.5, 2)
    assert (tuned["declined@out_of_domain"], tuned["declined@out_of_domain_n"]) == (1.0, 1)
    first = item_scores.with_slice(declining("unanswerable", "unanswerable", "out_of_domain"), "declined@out_of_domain")
    assert sorted(item_scores.with_declined(first).metrics) == sorted(made.metrics)
    plain = declining("unanswerable", "unanswerable", "unanswerable")
    assert item_scores.with_declined(plain) is plain


def test_metrics_fit_a_screen_and_are_part_of_the_details(inputs: Any, run: Any) -> None:
    folder = run(inputs)
    metrics, details = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "details"))
    shown, everything = (dict(params.flatten(numbers)) for numbers in (metrics, details))
    assert shown.items() <= everything.items()
    assert len(shown) <= 25
    assert list(metrics["tuned"]) == ["field_exact", "json_valid", "record_exact", "stop_rate", "n"]
    assert list(metrics["base_3shot"]) == ["field_exact"]
    assert list(metrics["difference"]) == ["against", "field_exact", "field_exact_verdict"]
    assert list(metrics["retention"]["tuned"]) == ["bits_per_byte", "choice_accuracy", "refusal_rate", "over_refusal_rate"]


def test_older_reports_split_their_numbers_between_files() -> None:
    metrics = {"split": "test", "difference": {"against": "base_0shot"}}
    details = {"totals": {}, "difference": {"exact_match_mde": 0.1}}
    both = {"split": "test", "totals": {}, "difference": {"against": "base_0shot", "exact_match_mde": 0.1}}
    assert results.merged(metrics, details) == both
    assert results.merged(metrics, {}) == metrics


def test_open_book_is_the_mean_of_seeds_minus_the_base() -> None:
    passage = [
        *scores("base_passage", 0, 0, 0, 1),
        *scores("tuned_1_passage", 1, 1, 1, 1),
        *scores("tuned_2_passage", 0, 1, 1, 1),
    ]
    tuned = [*scores("tuned_1", 1, 1, 1, 1), *scores("tuned_2", 1, 0, 1, 0)]
    seeds = {1: "tuned_1", 2: "tuned_2"}
    made = item_scores.tabulate([*BASES, *tuned, *passage], EXAMPLES, ["base_0shot", "base_3shot", "base_passage"], seeds)
    metrics = summarize(made)
    assert (metrics["tuned"]["exact_match"], metrics["tuned_passage"]["exact_match"]) == (0.75, 0.875)
    assert (metrics["passage"]["exact_match"], metrics["open_book"]["exact_match"]) == (0.5, 0.625)
    assert metrics["open_book"]["stop_rate_verdict"] == metrics["difference"]["stop_rate_verdict"]
    assert metrics["tuned_passage"]["exact_match_sd"] == round(0.25 / 2**0.5, 6)
    assert metrics["slices"]["hard"]["tuned_passage"]["exact_match"] == 1.0
    assert "tuned_2_passage" in item_scores.items(made)[0]["scores"]
    assert not {"tuned_passage", "open_book"} & summarize(table(*tuned, seeds=(1, 2))).keys()
