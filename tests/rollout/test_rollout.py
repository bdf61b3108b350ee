"""tunetrail rollout: how long a roll-out takes, what outcomes say of it, and which outcomes cannot be judged."""

import csv
import json
import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import cli
from stages.commands import rollout
from stages.errors import DataError
from stages.rollout import judging, outcomes, plan, sequential
from stages.rollout.plan import Metric

ROOT = Path(__file__).parents[2]
PLAN = plan.made([plan.rate("outcome", 0.8, -0.1)], [5, 20, 50], 200, 0.05, 0.8, "pocock")
write = partial(
    rollout.write, rate=0.8, margin=0.1, traffic=200, phases=["5", "20", "50", "100"], guardrails=(), alpha=0.05, power=0.8,
    bound="pocock", output=Path("plan.json"),
)  # fmt: skip


@pytest.fixture
def simulation(monkeypatch) -> Any:
    """The module of bench/rollout.py."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return import_module("rollout")


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
        (rows(1), r"\*\*continue\*\*: to 20 %: no harm was shown\n", 0),
        (rows(3, new=0.9), r"\*\*continue\*\*: to 100 %: .* no metric got worse by as much as its margin", 0),
        (rows(2, new=0.6), r"\*\*roll back\*\*: outcome changed by -0\.\d+ \[.*\] by the end of the phase of (5|20) %", 3),
        (rows(2, share=30), r"\*\*stop\*\*: in the phase of (5|20) %, the users are not split as planned", 3),
    ],
)
def test_verdict_follows_from_the_outcomes(room, capsys, given, words, code):
    page, exit_code = check(capsys, given)
    assert exit_code == code
    assert re.match(words, page)


def test_a_drop_that_cannot_be_excluded_is_named():
    made = plan.made([plan.rate("outcome", 0.8, -0.05)], [50], 200, 0.05, 0.8, "pocock")
    count = made.phases[0].rows // 2 + 1
    values = np.concatenate([np.arange(count) < 0.775 * count, np.arange(count) < 0.8 * count]).astype(float)
    new, units = np.arange(2 * count) < count, np.arange(2 * count)
    order = np.random.default_rng(0).permutation(2 * count)  # only the planned first rows count
    given = outcomes.Outcomes(units, new[order], np.zeros(2 * count, int), {"outcome": values[order]})
    assert judging.judge(made, given).reason.endswith(
        "it cannot be excluded that these got worse by their margin: outcome (-0.05)"
    )


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
    with pytest.raises(SystemExit, match="3"):
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
def test_simulated_false_alarms_and_power_are_as_planned(simulation, bound):
    made = plan.made([plan.rate("outcome", 0.8, -0.1)], [5, 20, 50], 200, 0.05, 0.8, bound)
    runs, generator = 400, np.random.default_rng(0)
    alarms, noticed = (simulation.simulated(made, change, runs, generator)[0].mean() for change in (0.0, -0.1))
    assert alarms <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert noticed >= 0.8 - 3 * (0.8 * 0.2 / runs) ** 0.5


def test_rows_after_the_end_of_a_phase_change_nothing(simulation):
    whole = simulation.drawn(PLAN, 0.0, np.random.default_rng(3))
    sizes = [phase.rows for phase in PLAN.phases]
    first = judging.judge(PLAN, whole.first(sizes[:1])).looks
    assert judging.judge(PLAN, whole.first([sizes[0], 9])).looks == first  # the next phase has begun
    twice = outcomes.Outcomes(
        *(np.concatenate([column, column]) for column in (whole.units, whole.new, whole.phases)),
        {"outcome": np.concatenate([whole.values["outcome"], 1 - whole.values["outcome"]])},
    )
    assert judging.judge(PLAN, twice).looks == judging.judge(PLAN, whole).looks


def test_a_phase_that_is_short_of_rows_ends_when_the_next_begins(simulation):
    whole = simulation.drawn(PLAN, 0.0, np.random.default_rng(3))
    sizes = [PLAN.phases[0].rows - 1, 9]
    assert [look.phase for look in judging.judge(PLAN, whole.first(sizes)).looks] == [0]


@pytest.mark.parametrize(
    ("new", "old", "tested"),
    [
        ([1.0] * 40, [1.0] * 600, False),
        ([0.0, 0.0, *[1.0] * 18], [0.0, 1.0] * 300, False),
        ([], [0.0, 1.0] * 300, False),
        ([0.0, 1.0] * 20, [0.0, 1.0] * 300, True),
    ],
)
def test_nothing_is_tested_where_too_little_is_known(new, old, tested):
    values = np.array([*new, *old])
    given = outcomes.Outcomes(
        np.arange(len(values)), np.arange(len(values)) < len(new), np.zeros(len(values), int), {"outcome": values}
    )
    short = PLAN.model_copy(
        update={
            "phases": [PLAN.phases[0].model_copy(update={"rows": len(values), "share": 100 * max(len(new), 1) / len(values)})]
        }
    )
    (look,) = judging.judge(short, given).looks
    assert np.isfinite(look.bound) == tested
    assert not look.harmful


def test_more_information_than_planned_raises_no_alarms():
    # Planned for a deviation of 1.4, the data have 0.9: 2.4 times the information. The looks' correlation is the data's own.
    bounds = sequential.bounds("obrien-fleming", 0.05, [0.148, 0.67, 1.48])
    steps = np.random.default_rng(0).normal(size=(200_000, 3)) * np.sqrt(np.diff([0, 0.148, 0.67, 1.48]))
    reached = np.cumsum(steps, axis=1) / np.sqrt([0.148, 0.67, 1.48]) >= bounds
    assert reached.any(1).mean() == pytest.approx(0.05, abs=0.002)
    assert sequential.bounds("pocock", 0.05, [0.1, 0.100001, 1])[1] == float("inf")  # a look that adds nothing


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
        (None, ("a", "old", "5", "yes"), ":2: outcome 'yes': must be a number from 0 to 1"),
        (None, ("a", "old", "5", ""), ":2: outcome '': must be a number from 0 to 1; write 0 if a missing one is a bad one"),
        (None, ("a", "old", "5", "100"), ":2: outcome '100': must be a number from 0 to 1"),
        (None, ("a", "old", "5_0", 1), ":2: phase '5_0'"),
        (None, ("a", "old", "5", "nan"), ":2: outcome 'nan': must be a number from 0 to 1"),
        (None, ("a", "old", "20", 1), "the phase of 5 % has no rows, but that of 20 % has begun"),
    ],
)
def test_outcomes_that_cannot_be_judged_are_refused(room, header, row, message):
    write()
    source = table([row], header or ("unit", "arm", "phase", "outcome"))
    with pytest.raises(DataError, match=f"^outcomes.csv:? ?.*{message}"):
        rollout.check(source, Path("plan.json"), None)


def test_rows_of_the_last_phase_are_left_out(room, capsys):
    page, code = check(capsys, rows(3))
    log = [*rows(3), ("a", "new", "100", 1), ("b", "new", "100%", 0)]
    assert check(capsys, log) == (page, code)
    rollout.check(table(log), Path("plan.json"), None)
    assert "2 rows of the phase of 100 % are left out" in capsys.readouterr().err
    with pytest.raises(DataError, match=r":2: arm old in the phase of 100 %"):
        rollout.check(table([("a", "old", "100", 1)]), Path("plan.json"), None)


def test_page_replaces_nothing_that_is_read(room):
    write()
    source = table(rows(1))
    before = source.read_bytes(), Path("plan.json").read_bytes()
    for name in ("outcomes.csv", "plan.json"):
        with pytest.raises(DataError, match=f"^--output {room / name}: would replace {name}, which is read"):
            rollout.check(source, Path("plan.json"), room / name)
    assert (source.read_bytes(), Path("plan.json").read_bytes()) == before


def test_user_with_both_models_and_equal_outcomes_are_refused(room):
    write()
    with pytest.raises(DataError, match=r"^outcomes\.csv:3: unit a has both models in the phase of 5 %"):
        rollout.check(table([("a", "old", "5", 1), ("a", "new", "5", 1)]), Path("plan.json"), None)
    Path("outcomes.csv").write_text("unit,arm,phase,outcome\n")
    with pytest.raises(DataError, match=r"^outcomes\.csv: has no rows"):
        rollout.check(Path("outcomes.csv"), Path("plan.json"), None)
    Path("outcomes.csv").write_bytes(b"unit,arm,phase,outcome\n\xff,old,5,1\n")
    with pytest.raises(DataError, match=r"^outcomes\.csv: not in UTF-8: invalid start byte at byte 23"):
        rollout.check(Path("outcomes.csv"), Path("plan.json"), None)
    with pytest.raises(DataError, match=r"^no\.csv: no such file"):
        rollout.check(Path("no.csv"), Path("plan.json"), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 0.9}, "^outcome: a rate of 0.8 that changes by -0.9: rates must be between 0 and 1; lower --margin"),
        ({"phases": ["5.125", "20"]}, "^--phases 5.125,20: shares have at most two decimals"),
        ({"phases": ["5", "x"]}, "^--phases 5,x: use shares in percent"),
        ({"phases": ["100"]}, "^--phases 100: name a share below 100 %"),
        ({"phases": ["20", "5"]}, "^--phases 20,5: shares must rise, from above 0 to at most 100"),
        ({"phases": ["0", "5"]}, "^--phases 0,5: shares must rise"),
        ({"phases": ["5", "100", "50"]}, "^--phases 5,100,50: shares must rise"),
        ({"phases": ["5", "nan"]}, "^--phases 5,nan: shares have at most two decimals"),
        ({"phases": []}, "^--phases : name a share below 100 %"),
        ({"guardrails": ["complained"]}, "^--guardrail complained: use NAME:BASELINE:MARGIN"),
        ({"guardrails": ["thumbs-up:0.1:+0.1"]}, "a name has ASCII letters, digits and _"),
        ({"guardrails": ["complained:1.2:+0.1"]}, "^complained: a rate of 1.2"),
        ({"guardrails": ["seconds:2:+0:1"]}, "must be at least 0.000001"),
        ({"guardrails": ["unit:0.1:+0.1"]}, "^--guardrail unit:0.1:.0.1: unit is a column of its own"),
        ({"guardrails": ["a:0.1:+0.1", "a:0.1:+0.1"]}, "^--guardrail a: named twice"),
    ],
)
def test_plans_that_cannot_be_made_are_refused(room, changes, message):
    with pytest.raises(DataError, match=message):
        write(**changes)
    assert not Path("plan.json").exists()


@pytest.mark.parametrize("option", [("--alpha", "1e-13"), ("--alpha", "0.5"), ("--power", "0.9999999"), ("--traffic", "nan")])
def test_options_out_of_range_are_refused_by_name(capsys, option):
    given = {"--rate": "0.8", "--margin": "0.1", "--traffic": "10"} | dict([option])
    with pytest.raises(SystemExit, match="2"):
        cli.parser().parse_args(["rollout", "plan", *(word for pair in given.items() for word in pair)])
    assert f"argument {option[0]}: '{option[1]}': must be a number between" in capsys.readouterr().err


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
    assert plan.guardrail("seconds:2.1:+0.5:1.4") == Metric(name="seconds", rate=False, baseline=2.1, margin=0.5, deviation=1.4)
    assert [plan.guardrail(text).direction for text in ("kept:0.9:-0.1", "left:0.1:+0.1")] == [-1, 1]
