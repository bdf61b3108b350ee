"""`tunetrail compare`: show what a pull request did to the model, as one Markdown page made from git alone."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from stages import files, formatting, locks, pages
from stages.commands.compare import changes, outcome, sides
from stages.commands.compare.gate import Judged, judge
from stages.commands.compare.shapes import Answer, Chat, Row, S, Yardstick, checked
from stages.commands.compare.sides import Side
from stages.errors import DataError
from stages.pages import Content, one_line
from stages.params.headline import RETENTION
from stages.report.summary import questions
from stages.statistics import rows_needed
from stages.systems import ALIGNED

HERE = Path(__file__).parent
FORMATTED, PREDICTIONS = "data/formatted", "data/predictions"
SHOWN = 5  # fixed and broken rows on the page, each
YARDSTICK = ("report.headline", "report.margin", "report.resamples", "seed")
GATE = "report.gate."
V = TypeVar("V")


def compare(base: str, head: str | None, output: str | None, gate: bool) -> None:
    """Write the comparison to `output` or print it; with `gate`, raise DataError on a significant loss beyond its margin.

    The gate looks at the headline and at the metrics of report.gate. Where these name one, a metric that cannot be judged
    fails too. All settings are those of base: a change cannot relax the criterion that judges it.
    """
    before, after = sides.read(base), sides.read(head)
    engines = [one_line(side.cost.engine.server) for side in (before, after)]
    if engines[0] != engines[1]:
        raise DataError(
            f"{before.name}: answered by {engines[0]}, {after.name} by {engines[1]}; answers of two engines are not compared. "
            "Run both with the same `engine`, or name a commit with a run of this engine as --base"
        )
    named = {key: side.params[key] for side in (after, before) for key in YARDSTICK if key in side.params}
    if unknown := [key for key in YARDSTICK if key not in named and key != "report.margin"]:
        raise DataError(f"params.yaml: {unknown[0]} is on neither side; run `tunetrail compose` and `dvc repro`")
    settings = {key.removeprefix("report."): value for key, value in named.items()}
    by = Yardstick.model_validate(settings | {"gate": _gate(before)})
    rows, judged = outcome.rows(before, after, by.headline, by.resamples, by.margin, by.seed), judge(before, after, by)
    text = pages.render(HERE / "compare.md.jinja", **content(before, after, rows, judged, by.margin))
    if output:
        with locks.exclusive(Path(output)):
            files.write_text(Path(output), text)
    print(text.splitlines()[0].lstrip("# ") if output else text)
    failing = ("fails", "undecided") if by.gate else ("fails",)
    if gate and (failed := [one.sentence for one in judged if one.outcome in failing]):
        raise DataError(f"--gate: {'; '.join(failed)}")


def content(base: Side, head: Side, rows: list[outcome.Row], judged: list[Judged], margin: float) -> Content:
    """Return the content of the template."""
    headline, paired = rows[0], outcome.same_rows(base, head)
    fixed, broken = outcome.moved(base, head, headline.metric) if paired else ([], [])
    return {
        "base": base,
        "head": head,
        "rows": rows,
        "paired": paired,
        "margin": margin,
        "yardstick": _yardstick(base, head),
        "judged": judged,
        "counted": [_counted(base, headline.metric, headline.base.n), _counted(head, headline.metric, headline.head.n)],
        "needed": rows_needed(headline.head.n, headline.low, headline.high, margin),
        "spread": [_spread([outcome.overall(side, system, headline.metric) for system in side.tuned]) for side in (base, head)],
        "lone": outcome.on_one_side(base, head),
        "few": formatting.FEW_CLUSTERS,
        "untuned": outcome.untuned(base, head, headline.metric),
        "variables": changes.variables(base, head, changed_files(base, head)),
        "minor": changes.minor(base, head),
        "data": data_rows(base, head),
        "totals": [row for row in _pairs(_totals(base), _totals(head)) if row[1] != row[2]],
        "retention": _pairs(_retention(base), _retention(head)),
        "answer": _pairs(*(side.cost.serving.get(side.tuned[0], {}) for side in (base, head))),
        "cost": [row for row in _pairs(base.cost.steps, head.cost.steps) if row[1] != row[2]],
        "stages": changes.run_again(base, head),
        "fixed": texts(base, head, fixed[:SHOWN]),
        "broken": texts(base, head, broken[:SHOWN]),
    }


def changed_files(base: Side, head: Side) -> dict[str, str]:
    """Return the paths that differ in git with lines added and removed; uncommitted edits count for the working tree."""
    until = [] if head.name == sides.WORKING_TREE else [head.commit]
    listed = sides.git("diff", "--numstat", "--no-renames", "--relative", "-z", base.commit, *until)
    rows = [entry.split("\t", 2) for entry in listed.decode(errors="replace").split("\0") if entry]
    return {path: "binary" if added == "-" else f"+{added} −{removed} lines" for added, removed, path in rows}


def data_rows(base: Side, head: Side) -> list[tuple[str, str]]:
    """Return the formatted files that differ, with the rows added and removed if their ids are known, else the sizes."""
    before, after, found = base.outputs(), head.outputs(), []
    for path in sorted(before.keys() & after.keys()):
        if path.startswith(FORMATTED) and path.endswith(".jsonl") and before[path].md5 != after[path].md5:
            old, new = _ids(base, path), _ids(head, path)
            sizes = f"{formatting.size(before[path].size)} → {formatting.size(after[path].size)}"
            known = f"{len(new - old)} rows added, {len(old - new)} removed, {len(old & new)} kept"
            found.append((path, known if old and new else f"{sizes} (rows are not in git and not in the cache)"))
    return found


def texts(base: Side, head: Side, ids: list[str]) -> list[Content]:
    """Return the rows to show, with question, reference and both answers where DVC's cache has them and both sides allow it."""
    if not all(side.params.get("report.texts", True) for side in (base, head)):  # runs older than report.texts showed them
        nothing = {"question": None, "reference": None, "answers": [None, None]}
        return [{"id": id, "source": head.items[id].source, **nothing} for id in ids]
    examples = {row.id: row.messages for row in _cached(Chat, head, f"{FORMATTED}/{head.results.split}.jsonl")}
    predictions = [_cached(Answer, side, f"{PREDICTIONS}/{side.tuned[0]}.jsonl") for side in (base, head)]
    answers = [{row.example: row.text for row in rows} for rows in predictions]
    return [
        {
            "id": id,
            "source": head.items[id].source,
            "question": examples[id][-2].content if id in examples else None,
            "reference": examples[id][-1].content if id in examples else None,
            "answers": [given.get(id) for given in answers],
        }
        for id in ids
    ]


def _gate(side: Side) -> dict[str, JsonValue]:
    """Return the margins of the metrics that report.gate names; parameters that are older than it name none."""
    return {key.removeprefix(GATE): value for key, value in side.params.items() if key.startswith(GATE)}


def _yardstick(base: Side, head: Side) -> list[tuple[str, JsonValue, JsonValue]]:
    """Return the settings that judge and of which the two sides have other values; only metrics of the gate may be absent."""
    both = [key for key in YARDSTICK if key in base.params and key in head.params]
    gated = sorted({f"{GATE}{metric}" for side in (base, head) for metric in _gate(side)})
    old, new = ({key: side.params.get(key, changes.ABSENT) for key in (*both, *gated)} for side in (base, head))
    return [(key, old[key], new[key]) for key in old if old[key] != new[key]]


def _counted(side: Side, metric: str, rows: int) -> str:
    """Return the number of rows of a metric as the report has it, with that of the questions if it is known of these rows."""
    _, _, dataset = metric.partition("@")
    is_known = dataset or rows == len(side.items)
    return formatting.row_count(rows, questions(side.results.totals).get(dataset) if is_known else None)


def _ids(side: Side, path: str) -> set[str]:
    split = path == f"{FORMATTED}/{side.results.split}.jsonl"
    return set(side.items) if split else {row.id for row in _cached(Row, side, path)}


def _cached(shape: type[S], side: Side, path: str) -> list[S]:
    """Return the lines of an output from DVC's cache by its md5; empty if the cache does not have it.

    A branch may bring a link as a file of the cache: only content with this very hash is read.
    """
    md5 = side.outputs()[path].md5 if path in side.outputs() else ""
    file = place(md5)
    if not md5 or not file.is_file() or files.file_hash(file, "md5") != md5:
        return []
    rows = enumerate(files.lines(file), start=1)
    return [checked(shape, line.encode(), f"{side.name}: {path}:{number}") for number, line in rows]


def place(md5: str) -> Path:
    """Return where DVC's cache keeps the content with this md5; `dvc cache dir` may have moved the cache."""
    from dvc.config import Config, ConfigError

    try:
        folder = Config(".dvc")["cache"].get("dir", ".dvc/cache")
    except ConfigError as error:
        raise DataError(f".dvc: {one_line(str(error))}; `tunetrail doctor` names the file") from None
    return Path(folder) / "files/md5" / md5[:2] / md5[2:]


def _totals(side: Side) -> Mapping[str, float | str]:
    """Return numbers of the first tuned model that are not means over rows and so have no interval, e.g. BLEU."""
    return side.results.totals.get(side.tuned[0], {})


def _retention(side: Side) -> Mapping[str, tuple[float, float | str | None]]:
    """Return what the last step's model kept of general abilities, and its report's verdict, None where there is none.

    Refusals get no verdict (stages/report/retention.py); older reports hold one.
    """
    found = side.results.retention
    kept, verdicts = (found.aligned, found.aligned_minus_tuned) if side.step == ALIGNED else (found.tuned, found.difference)
    verdicts = verdicts | {"refusal_rate_verdict": None}
    return {name: (kept[name], verdicts.get(f"{name}_verdict")) for name in RETENTION if name in kept}


def _pairs(before: Mapping[str, V], after: Mapping[str, V]) -> list[tuple[str, V | None, V | None]]:
    return [(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]


def _spread(means: list[float]) -> tuple[int, float | None]:
    return len(means), statistics.stdev(means) if len(means) > 1 else None
