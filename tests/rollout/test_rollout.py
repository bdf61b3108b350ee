"""tunetrail rollout: how long a roll-out takes, what outcomes say of it, and which outcomes cannot be judged."""

import csv
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.rollout import drawn, simulated
from stages.commands import rollout
from stages.errors import DataError
from stages.rollout import judging, outcomes, plan
from stages.rollout.plan import Metric

PLAN = plan.made([plan.rate("outcome", 0.8, -0.1)], [5, 20, 50], 200, 0.05, 0.8, "pocock")
write = partial(
    rollout.write, rate=0.8, margin=0.1, traffic=200, phases=["5", "20", "50", "100"], guardrails=(), alpha=0.05, power=0.8,
    bound="pocock", output=Path("plan.json"),
)  # fmt: skip


@pytest.fixture
def room(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(rows: list[tuple], header: tuple = ("unit", "arm", "phase", "outcome")) -> Path:
    with Path("outcomes.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return Path("outcomes.csv")


def rows(phases: int, new: float = 0.8, old: float = 0.8, extra: int = 0, share: float | None = None) -> list[tuple]:
    """Return rows of whole phases, with exact rates of each arm, and `extra` rows of the phase after them."""
    found = []
    for number, phase in enumerate(PLAN.phases):
        count = phase.rows if number < phases else extra if number == phases else 0
        of_new = round(count * (share or phase.share) / 100)
        for arm, size, rate in (("new", of_new, new), ("old", count - of_new, old)):
            good = round(size * rate)
            found += [(f"{arm}{number}-{i}", arm, f"{phase.share:g}", int(i < good)) for i in range(size)]
    return found


def check(capsys, given: list[tuple]) -> tuple[str, int]:
    write()
    capsys.readouterr()
    code = 0
    try:
        rollout.check(table(given), Path("plan.json"), Path("page.md"))
    except SystemExit as end:
        code = end.code
    page = capsys.readouterr().out
    assert page == Path("page.md").read_text(encoding="utf-8")
    return page, code


def test_plan_says_how_long_each_phase_takes(room, capsys):
    write(guardrails=["complained:0.1:+0.1", "seconds:2:+1:1.5"])
    page = capsys.readouterr().out
    made = plan.read(Path("plan.json"))
    assert [phase.share for phase in made.phases] == [5, 20, 50]
    days = -(-made.phases[0].rows // 200)
    assert f"| 5 % | {made.phases[0].rows:,} | {days} |" in page and f"{3 * days} days at 200 rows a day" in page
    assert "outcome 0.8 -0.1, complained 0.1 +0.1, seconds 2 +1" in page


def test_rows_are_the_fewest_that_reach_the_power():
    one = plan.made([plan.rate("outcome", 0.8, -0.1)], [50], 200, 0.05, 0.8, "pocock")
    assert one.phases[0].rows == pytest.approx((1.6449 + 0.8416) ** 2 * 0.21 / 0.01 / 0.25, abs=1)  # the textbook's formula
    assert sum(phase.rows for phase in PLAN.phases) > one.phases[0].rows  # looks and uneven shares cost rows


@pytest.mark.parametrize(
    ("given", "words", "code"),
    [
        (rows(0, extra=7), r"\*\*continue\*\*: 7 of .* rows of the phase of 5 %", 0),
        (rows(1), r"\*\*continue\*\*: to 20 %: no harm so far", 0),
        (rows(3, new=0.9), r"\*\*continue\*\*: to 100 %: .* all changes are smaller than their margins", 0),
        (rows(3, new=0.76), r"\*\*continue\*\*: to 100 %: .* cannot be excluded of outcome \(-0.1\)", 0),
        (rows(2, new=0.6), r"\*\*roll back\*\*: outcome changed by -0\.\d+ \[.*\] by the end of the phase of (5|20) %", 1),
        (rows(2, share=30), r"\*\*stop\*\*: in the phase of (5|20) %, the users are not split as planned", 1),
    ],
)
def test_verdict_follows_from_the_outcomes(room, capsys, given, words, code):
    page, exit_code = check(capsys, given)
    assert exit_code == code
    assert re.match(words, page)


def test_guardrail_rolls_back_where_the_outcome_does_not(room, capsys):
    write(guardrails=["complained:0.1:+0.1"])
    made = plan.read(Path("plan.json"))
    given = [
        (f"{arm}{i}", arm, phase.share, int(i % 5 > 0), int(i % (3 if arm == "new" else 10) == 0))
        for phase in made.phases[:2]
        for arm, size in (("new", phase.share / 100), ("old", 1 - phase.share / 100))
        for i in range(round(phase.rows * size))
    ]
    given = [(f"{row[0]}-{row[2]}", *row[1:]) for row in given]
    with pytest.raises(SystemExit, match="1"):
        rollout.check(table(given, ("unit", "arm", "phase", "outcome", "complained")), Path("plan.json"), None)
    assert "**roll back**: complained changed by +0." in capsys.readouterr().out


def test_phases_of_other_users_do_not_pretend_a_change():
    # In the second phase all users are happier, and more of them have the new model: together it seems better by far.
    given = {1: ("old", 90, 0.5), 2: ("new", 10, 0.5), 3: ("old", 50, 0.9), 4: ("new", 50, 0.9)}
    columns = [(n, arm == "new", n > 2, int(i < size * rate)) for n, (arm, size, rate) in given.items() for i in range(size)]
    new, phases, values = (np.array(column) for column in list(zip(*columns, strict=True))[1:])
    found = outcomes.Outcomes(np.arange(200), new.astype(bool), phases.astype(int), {"outcome": values.astype(float)})
    assert values[new == 1].mean() - values[new == 0].mean() > 0.15
    assert outcomes.estimate(found, "outcome").difference == pytest.approx(0.0)


def test_rows_of_one_user_count_as_one():
    generator = np.random.default_rng(1)
    values = generator.random(200)
    one = outcomes.Outcomes(np.arange(200), np.arange(200) % 2 == 0, np.zeros(200, int), {"outcome": values})
    ten = outcomes.Outcomes(
        *(np.repeat(column, 10) for column in (one.units, one.new, one.phases)), {"outcome": np.repeat(values, 10)}
    )
    assert outcomes.estimate(ten, "outcome").error == pytest.approx(outcomes.estimate(one, "outcome").error)


@pytest.mark.parametrize("bound", ["obrien-fleming", "pocock"])
def test_simulated_false_alarms_and_power_are_as_planned(bound):
    made = plan.made([plan.rate("outcome", 0.8, -0.1)], [5, 20, 50], 200, 0.05, 0.8, bound)
    runs, generator = 400, np.random.default_rng(0)
    alarms, noticed = (simulated(made, change, runs, generator) for change in (0.0, -0.1))
    assert alarms <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert noticed >= 0.8 - 3 * (0.8 * 0.2 / runs) ** 0.5


def test_looking_within_a_phase_changes_nothing():
    whole = drawn(PLAN, 0.0, np.random.default_rng(3))
    begun = outcomes.Outcomes(*(column[: PLAN.phases[0].rows + 9] for column in (whole.units, whole.new, whole.phases)),
                              {"outcome": whole.values["outcome"][: PLAN.phases[0].rows + 9]})  # fmt: skip
    first = judging.judge(PLAN, whole.until(0))
    assert [look.z for look in judging.judge(PLAN, begun).looks] == [look.z for look in first.looks]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (("unit", "arm", "phase"), ("a", "old", "5"), "has no column outcome; it needs unit, arm, phase, outcome"),
        (("unit", "arm", "phase", "outcome", "x"), ("a", "old", "5", 1, 2), "column x is not in the plan"),
        (("unit", "arm", "phase", "outcome", "arm"), ("a", "old", "5", 1, "new"), "a column occurs twice"),
        (None, ("a", "old", "5"), "1?:2: more or fewer cells than columns"),
        (None, (" ", "old", "5", 1), ":2: unit is empty"),
        (None, ("a", "control", "5", 1), ":2: arm 'control': use old or new"),
        (None, ("a", "old", "7", 1), ":2: phase '7': is not in the plan, which has 5, 20, 50"),
        (None, ("a", "old", "", 1), ":2: phase ''"),
        (None, ("a", "old", "5", "yes"), ":2: outcome 'yes': not a number"),
        (None, ("a", "old", "5", "nan"), ":2: outcome 'nan': not a number"),
        (None, ("a", "old", "20", 1), "the phase of 5 % has 0 of .* rows, but the one of 20 % has begun"),
    ],
)
def test_outcomes_that_cannot_be_judged_are_refused(room, header, row, message):
    write()
    source = table([row], header or ("unit", "arm", "phase", "outcome"))
    with pytest.raises(DataError, match=f"^outcomes.csv:? ?.*{message}"):
        rollout.check(source, Path("plan.json"), None)


def test_user_with_both_models_and_equal_outcomes_are_refused(room):
    write()
    with pytest.raises(DataError, match=r"^outcomes\.csv:3: unit a has both models in the phase of 5 %"):
        rollout.check(table([("a", "old", "5", 1), ("a", "new", "5", 1)]), Path("plan.json"), None)
    with pytest.raises(DataError, match=r"^outcomes\.csv: outcome: all its values are equal"):
        rollout.check(table(rows(1, new=1, old=1)), Path("plan.json"), None)
    Path("outcomes.csv").write_text("unit,arm,phase,outcome\n")
    with pytest.raises(DataError, match=r"^outcomes\.csv: has no rows"):
        rollout.check(Path("outcomes.csv"), Path("plan.json"), None)
    Path("outcomes.csv").write_bytes(b"unit,arm,phase,outcome\n\xff,old,5,1\n")
    with pytest.raises(DataError, match=r"^outcomes\.csv: not a CSV file in UTF-8"):
        rollout.check(Path("outcomes.csv"), Path("plan.json"), None)
    with pytest.raises(DataError, match=r"^no\.csv: no such file"):
        rollout.check(Path("no.csv"), Path("plan.json"), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 0.9}, "^outcome: a rate of 0.8 that changes by -0.9"),
        ({"phases": ["5", "x"]}, "^--phases 5,x: use shares in percent"),
        ({"phases": ["100"]}, "^--phases 100: name a share below 100 %"),
        ({"phases": ["20", "5"]}, "^--phases 20,5: shares must rise, from above 0 to at most 100"),
        ({"phases": ["0", "5"]}, "^--phases 0,5: shares must rise"),
        ({"phases": ["5", "100", "50"]}, "^--phases 5,100,50: shares must rise"),
        ({"phases": ["5", "nan"]}, "^--phases 5,nan: shares must rise"),
        ({"phases": []}, "^--phases : name a share below 100 %"),
        ({"guardrails": ["complained"]}, "^--guardrail complained: use NAME:BASELINE:MARGIN"),
        ({"guardrails": ["complained:1.2:+0.1"]}, "^complained: a rate of 1.2"),
        ({"guardrails": ["seconds:2:+0:1"]}, "must not be 0"),
        ({"guardrails": ["unit:0.1:+0.1"]}, "^--guardrail unit:0.1:.0.1: unit is a column of its own"),
        ({"guardrails": ["a:0.1:+0.1", "a:0.1:+0.1"]}, "^--guardrail a: named twice"),
    ],
)
def test_plans_that_cannot_be_made_are_refused(room, changes, message):
    with pytest.raises(DataError, match=message):
        write(**changes)
    assert not Path("plan.json").exists()


def test_plan_that_was_changed_by_hand_is_checked(room):
    write()
    made = json.loads(Path("plan.json").read_text())
    for changes, message in (({"alpha": 2}, "alpha: "), ({"looks": 3}, "looks: ")):
        Path("plan.json").write_text(json.dumps(made | changes))
        with pytest.raises(DataError, match=f"^--plan plan.json: {message}"):
            rollout.check(table(rows(1)), Path("plan.json"), None)
    with pytest.raises(DataError, match=r"^--plan other\.json: no such file; write it with `tunetrail rollout plan"):
        rollout.check(table(rows(1)), Path("other.json"), None)


def test_margin_of_a_guardrail_says_which_change_is_harm():
    assert plan.guardrail("seconds:2.1:+0.5:1.4") == Metric(name="seconds", baseline=2.1, margin=0.5, deviation=1.4)
    assert [plan.guardrail(text).direction for text in ("kept:0.9:-0.1", "left:0.1:+0.1")] == [-1, 1]
