"""Tune month after month on new rows, in several ways, and see what is forgotten.

    tunetrail compose synthesis=none data.rows.train=900 data.rows.valid=640 data.rows.test=520 && dvc repro format
    python bench/monthly.py rows
    python bench/monthly.py run [--seed 42] [-S key=value ...]
    python bench/monthly.py show [--figure FILE.svg]

Use a clone: it keeps adapters in adapters/, and the last run stays in the workspace. `rows` writes four batches of complaints
below data/own/complaint_months/. Each has layouts of other channels than the batches before it, 150 training, 20 validation
and 100 test rows; conf/data/complaint_months.yaml reads them. `run` tunes the arms in ARMS one month after the other, with
equal numbers of updates unless an arm's name has its own. Of arms from the base it runs the last month alone, since they need
no earlier model. It keeps the scores of every month on the test rows of all months in .tunetrail/months/, and does not run a
month again that is there. `show` prints, by arm, the headline on each month's test rows after the last month and its paired
difference to the first arm. It also prints the backward transfer (Lopez-Paz & Ranzato 2017, arXiv:1706.08840): the mean change
on the rows of earlier months since the month that brought them. Intervals are by layout.
"""

import argparse
import json
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import drawing
import numpy as np
from arms import interval, items, keep, read, run, tuned
from mixture import row
from systems import gap

from stages import files, records
from stages.statistics import Rate, rate_interval

MONTHS = {  # by month: the channels of its layouts, and the split of the default task that its test rows come from
    "month_1": ("test", ("letter", "email")),
    "month_2": ("test", ("form", "call note")),
    "month_3": ("test", ("ticket", "chat")),
    "month_4": ("valid", ("line",)),  # texts in one line; the default's test rows have none
}
TRAIN, VALID, TEST, REPLAYED, UPDATES = 150, 20, 100, 50, 48
TARGET, KEPT = Path("data/own/complaint_months"), Path(".tunetrail/months")
METRIC = "field_exact"
COMMON = [
    *("data=complaint_months", "synthesis=none", "name=complaints", f"report.headline={METRIC}"),
    *("predict.shots=[0]", "predict.agreement_rows=0", "predict.likelihood_rows=0", "train.warmup_steps=5"),
    "format.shots=0",  # examples for prompts, or the base would answer again where they are of other months
]


def _drawn(earlier: int | None, month: int) -> str:
    """Return the override that draws all rows of the month, `earlier` of each before (None: all), and none of later ones."""
    before = {} if earlier is None else dict.fromkeys(list(MONTHS)[:month], earlier)
    numbers = before | dict.fromkeys(list(MONTHS)[month + 1 :], 0)
    return f"data.mix.rows={_written(numbers)}" if numbers else ""


def _written(numbers: dict[str, int]) -> str:
    return f"{{{', '.join(f'{name}: {number}' for name, number in numbers.items())}}}"


def _continued(earlier: Callable[[int], int]) -> Callable[[int, str], list[str]]:
    return lambda month, start: [_drawn(earlier(month), month), f"train.start_from={start}", f"train.max_steps={UPDATES}"]


ARMS: dict[str, Callable[[int, str], list[str]]] = {  # what a month's run changes, from the second month on
    "new rows alone": _continued(lambda _: 0),
    f"new rows, {REPLAYED} earlier ones replayed": _continued(lambda month: REPLAYED // month),
    f"new rows, EWC that protects {REPLAYED} earlier ones": lambda month, start: [
        *_continued(lambda _: 0)(month, start),
        *("replay.ewc_lambda=1", f"data.mix.protect={_written(dict.fromkeys(list(MONTHS)[:month], REPLAYED // month))}"),
    ],
    "all rows, from the base": lambda month, _: [_drawn(None, month), f"train.max_steps={UPDATES}"],
    "all rows, from the base, updates of all months": lambda month, _: [
        _drawn(None, month),
        f"train.max_steps={UPDATES * (month + 1)}",
    ],
}
FROM_BASE = frozenset(arm for arm in ARMS if "from the base" in arm)
COLORS = {
    "new rows": "#b3421f",
    "replayed": "#1b6ca8",
    "EWC": "#5b8c2a",
    "from base": "#777",
    "… all updates": "#222",
}  # by arm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rows", "run", "show"))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="key=value")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="draw the headline by month and arm")
    options = parser.parse_args()
    if options.what == "rows":
        write_rows()
    elif options.what == "run":
        for number in range(len(ARMS)):
            tune(number, options.seed, options.overrides)
    else:
        print(table(options.figure))


def write_rows() -> None:
    for month, (split, channels) in MONTHS.items():
        after = TEST if split == "valid" else 0  # validation rows are others than the test rows
        for kind, source, skipped, count in (
            ("train", "train", 0, TRAIN),
            ("valid", "valid", after, VALID),
            ("test", split, 0, TEST),
        ):
            examples = records.read(Path("data/formatted") / f"{source}.jsonl", records.Example)
            found = (each for each in map(row, examples) if each["channel"] in channels)
            wanted = islice(found, skipped, skipped + count)
            rows = [{"text": r["text"], "record": r["record"], "layout": r["layout"]} for r in wanted]
            assert len(rows) == count, f"{month}: {len(rows)} of {count} rows for {kind}; raise data.rows.{source}"
            lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
            files.write_text(TARGET / month / f"{kind}.jsonl", lines)


def tune(arm: int, seed: int, overrides: list[str]) -> None:
    """Run the months of an arm that are missing; the first is the same for all that continue."""
    start = ""
    for month in _months(arm):
        name = "first" if month == 0 else f"arm{arm}"
        folder, kept = KEPT / name / str(seed) / str(month), f"{name}-{month + 1}-{seed}"
        if not folder.is_dir():
            changed = ARMS[list(ARMS)[arm]](month, start) if month else [_drawn(0, 0), f"train.max_steps={UPDATES}"]
            run([*COMMON, f"seeds=[{seed}]", *filter(None, changed), *overrides])
            trained = sum(1 for _ in records.read(Path("data/formatted/train.jsonl"), records.Example))
            assert trained >= TRAIN, f"{kept}: {trained} training rows are left of {TRAIN}"
            subprocess.run(["tunetrail", "keep", kept], check=True)
            subprocess.run(["git", "add", f"adapters/{kept}.dvc"], check=True)  # or the next experiment would remove the folder
            keep(Path("reports/complaints"), folder)
        start = f"adapters/{kept}"


def table(figure: Path | None = None) -> str:
    """Return a Markdown table with a row for each arm of which all months are there."""
    months = list(MONTHS)
    lines = [
        f"| arm | seeds | {' | '.join(name.replace('_', ' ') for name in months)} | all | − first arm | backward transfer | "
        "bits per byte of general text | training, s by month |",
        "|---|" + "---|" * (len(months) + 6),
    ]
    rates: dict[tuple[str, str], Rate] = {}
    first: np.ndarray | None = None
    for number, arm in enumerate(ARMS):
        seeds = [
            path.name for path in sorted(KEPT.glob(f"arm{number}/*")) if _folder(number, path.name, len(months) - 1).is_dir()
        ]
        if not seeds:
            continue
        after = np.mean([[_scores(_folder(number, seed, m)) for m in _months(number)] for seed in seeds], axis=0)
        rows = items(_folder(number, seeds[0], len(months) - 1))
        sources = np.array([item.source for item in rows])
        came = np.array([next(i for i, name in enumerate(months) if name in item.slices) for item in rows])
        lost = "–"
        if arm not in FROM_BASE:
            earlier = came < len(months) - 1
            lost = interval(gap(after[-1][earlier], after[came, np.arange(len(rows))][earlier], sources[earlier]), 100, 1)
        against = "" if first is None else interval(gap(after[-1], first, sources), 100, 1)
        first = after[-1] if first is None else first
        seconds = np.mean([[_seconds(_folder(number, seed, m), seed) for m in _months(number)] for seed in seeds], axis=0)
        general = [read(_folder(number, seed, len(months) - 1), "metrics.json")["retention"]["tuned"] for seed in seeds]
        means = [f"{100 * after[-1][came == month].mean():.1f}" for month in range(len(months))]
        for month, name in enumerate(months):
            rates[name, list(COLORS)[number]] = rate_interval(after[-1][came == month], sources[came == month])
        lines.append(
            f"| {arm} | {len(seeds)} | {' | '.join(means)} | {100 * after[-1].mean():.1f} | {against} | {lost} | "
            f"{np.mean([each['bits_per_byte'] for each in general]):.3f} | {', '.join(f'{each:.0f}' for each in seconds)} |"
        )
    if figure:
        labels = {name: f"rows of {name.replace('_', ' ')}" for name in months}
        title = f"{METRIC} after the last month, by the month of the test rows, with 95 % intervals"
        shown = {series: color for series, color in COLORS.items() if (months[0], series) in rates}
        files.write_text(figure, drawing.intervals(rates, labels, shown, title, width=180))
    return "\n".join(lines)


def _months(arm: int) -> range:
    return range(len(MONTHS) - 1 if list(ARMS)[arm] in FROM_BASE else 0, len(MONTHS))


def _folder(arm: int, seed: str, month: int) -> Path:
    return KEPT / ("first" if month == 0 else f"arm{arm}") / seed / str(month)


def _seconds(folder: Path, seed: str) -> float:
    return float(read(folder, "cost.json")[f"train_{seed}"]["train_seconds"])


def _scores(folder: Path) -> list[float]:
    rows = items(folder)
    (system,) = tuned(rows)
    return [row.scores[system][METRIC] for row in rows]


if __name__ == "__main__":
    main()
