"""Renders report.md and index.html: formatting, the wording of the verdict, and the scales of the charts.

Everything shown comes from data that others wrote, so autoescaping is on in both templates, nothing is ever marked safe, and
the page allows only the one script whose hash it names.
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report.evidence import Json
from stages.report.summary import TUNED

METRICS = {
    "json_valid": ("valid JSON", "the whole answer parses as one JSON object"),
    "field_exact": ("fields exact", "share of a record's fields that equal the reference; null equals only null"),
    "record_exact": ("records exact", "every field of the record equals the reference"),
    "exact_match": ("exact match", "the answer equals the reference"),
    "token_f1": ("token F1", "overlap of the words of answer and reference"),
    "schema_valid": ("schema valid", "the object has exactly the reference's keys, with values of their kinds"),
    "rouge_l": ("ROUGE-L", "longest common subsequence of words, as F1"),
    "answered": ("answered", "the answer does not decline, on questions that have one"),
    "declined": ("declined", "the answer declines, on questions that have none"),
    "accuracy": ("accuracy", "the answer written names the right choice"),
    "logprob_accuracy": ("log-likelihood accuracy", "the right choice is the likeliest as a whole"),
    "logprob_accuracy_norm": ("log-likelihood accuracy by token", "the right choice is the likeliest by its mean token"),
    "stop_rate": ("stopped by itself", "the answer ended before the limit of new tokens"),
}
MINUS, SPACE = "\u2212", "\u202f"  # a true minus sign and a narrow no-break space
FEW_CLUSTERS = 10
HERE = Path(__file__).parent
LONGEST = 2000  # characters of one text on the page


def metric_name(metric: str) -> str:
    """`metric@slice` reads as metric on slice."""
    metric, _, only = metric.partition("@")
    if only:
        return f"{metric_name(metric)} on {only.replace('_', ' ')}"
    if metric in METRICS:
        return METRICS[metric][0]
    return f"{metric.removesuffix('_exact')} exact" if metric.endswith("_exact") else metric.replace("_", " ")


def metric_help(metric: str) -> str:
    return METRICS.get(metric.partition("@")[0], ("", ""))[1]


def system_name(system: str) -> str:
    shots = re.fullmatch(r"base_(\d+)shot", system)
    if system == "base_passage":
        return "base, passage in the prompt"
    if not shots:
        return system.replace("_", " ")
    return {0: "base, no examples", 1: "base, 1 example"}.get(int(shots[1]), f"base, {shots[1]} examples")


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    points = round(100 * share, 1)
    return f"{points:+.1f}".replace("-", MINUS) if points else "0.0"


def probability(p: float) -> str:
    return f"p{SPACE}<{SPACE}0.001" if p < 0.001 else f"p{SPACE}={SPACE}{p:.3f}"


def number(value: float) -> str:
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h {minutes}{SPACE}min" if hours else f"{minutes}{SPACE}min {rest}{SPACE}s"


def size(value: float) -> str:
    """Bytes in decimal units, as file managers and model pages give them."""
    unit = next(unit for unit in (1e9, 1e6, 1e3, 1) if value >= unit or unit == 1)
    name = {1e9: "GB", 1e6: "MB", 1e3: "kB", 1: "B"}[unit]
    return f"{value / unit:.1f}{SPACE}{name}" if unit > 1 else f"{value:.0f}{SPACE}{name}"


def figure(value: float | str | None) -> str:
    """A total that may be of any size or unit."""
    return value if isinstance(value, str) else "–" if value is None else f"{value:.4g}".replace("-", MINUS)


def bounds(numbers: dict[str, Any], total: str) -> str:
    """The interval of a total that has one."""
    ends = [figure(numbers[end]) for end in (f"{total}_lo", f"{total}_hi") if end in numbers]
    return f" [{', '.join(ends)}]" if ends else ""


def clip(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} more characters)"


def cell(text: Any) -> str:
    """Text inside a cell of a Markdown table, where a bar or a line break would end the cell."""
    return " ".join(str(text).split()).replace("|", "¦").replace("`", "'")


def card(cost: Json) -> str:
    """What training took of a GPU: its memory, what was reserved before and at the peak, the time in seconds and minutes."""
    before, peak, total = (cost[f"memory_{name}_mb"] * 1e6 for name in ("before", "reserved", "total"))
    seconds = cost["train_seconds"]
    return (
        f"{size(total)} of GPU memory; reserved before training {size(before)}, at the peak {size(peak)} "
        f"({percent(peak / total)}{SPACE}%), of which for training {size(peak - before)} "
        f"({percent((peak - before) / total)}{SPACE}%); trained in {seconds:.1f}{SPACE}s, {seconds / 60:.2f} minutes"
    )


WORDS = (metric_name, metric_help, system_name, card)
FILTERS = (*WORDS, percent, signed, probability, number, duration, size, figure, bounds, clip, cell)


def verdict(metrics: Json, headline: str, model: str, margin: float) -> Json:
    """What happened, in words: a title, the evidence for it, and what the evidence does not cover."""
    difference, name = metrics["difference"], metric_name(headline)
    against, low, high = difference["against"], difference[f"{headline}_lo"], difference[f"{headline}_hi"]
    outcome, p = difference[f"{headline}_verdict"], difference[f"{headline}_p"]
    changed = outcome in ("better", "worse")
    before, after = (f"{percent(metrics[system][headline])}{SPACE}%" for system in (against, TUNED))
    told = f"took {model} from {before} to {after} {name}" if changed else f"left {model} at {after} {name}, {before} before"
    zero = "includes zero" if low <= 0 <= high else "excludes zero" + ("" if changed else ", but the test does not confirm it")
    evidence = (
        f"Against the best base system ({system_name(against)}) that is {signed(difference[headline])} points on the "
        f"{metrics['split']} split, 95{SPACE}% interval {signed(low)} to {signed(high)}, {probability(p)}: the interval {zero}."
    )
    if not changed:
        found = percent(min(1.0, difference[f"{headline}_mde"]))
        evidence += f" A difference of {found} points would have been found four times in five, smaller ones less often."
    if outcome == "underpowered":
        rows = number(difference[f"{headline}_rows_needed"])
        evidence += f" The interval is wider than {percent(margin)} points; about {rows} rows would narrow it to that."
    title = f"{outcome.capitalize()}: tuning {told}"
    return {"outcome": outcome, "title": title, "evidence": evidence, "limits": list(_limits(metrics, headline))}


def _limits(metrics: Json, headline: str) -> Iterator[str]:
    tuned = metrics[TUNED]
    if "seeds" in metrics:
        mean, spread = percent(tuned[headline]), percent(tuned[f"{headline}_sd"])
        yield (
            f"“tuned” is the mean of {len(metrics['seeds'])} training runs, {mean} ± {spread}{SPACE}% (standard deviation "
            "between them); the intervals cover the choice of items, not of seeds."
        )
    else:
        yield "There was one training run: how much the result varies between training seeds is unknown."
    if metrics["split"] == "valid":
        yield "These are validation rows, on which choices were made: expect less on new data."
    clusters = tuned.get(f"{headline}_clusters", tuned["clusters"])
    if clusters < 2:
        yield "All rows come from one source: the intervals treat rows as independent and are too narrow if they are not."
    elif clusters < FEW_CLUSTERS:
        yield f"There are only {clusters} clusters of rows: take the intervals as rough."
    few = [key.removesuffix("_clusters") for key, found in tuned.items() if key.endswith("_clusters") and found < FEW_CLUSTERS]
    if others := [metric_name(metric) for metric in few if metric != headline]:
        yield f"Fewer than {FEW_CLUSTERS} clusters, so rough too: {', '.join(others)}."


def chart(rows: list[Json]) -> Json | None:
    """Loss rows as polylines in a square of side 100, origin at the top left, and round tick values; None without rows."""
    if not rows:
        return None
    top = max(row[name] for row in rows for name in ("train", "valid") if row[name] is not None)
    xticks, yticks = _ticks(max(row["step"] for row in rows)), _ticks(top)
    width, height = max(max(row["step"] for row in rows), 1), max(top, yticks[-1]) or 1
    lines = []
    for seed in dict.fromkeys(row.get("seed") for row in rows):
        for name in ("train", "valid"):
            mine = [(row["step"], row[name]) for row in rows if row.get("seed") == seed and row[name] is not None]
            points = [(round(100 * step / width, 2), round(100 - 100 * loss / height, 2)) for step, loss in mine]
            if points:
                lines.append({"name": name, "seed": seed, "points": points, "last": mine[-1][1], "step": mine[-1][0]})
    return {
        "lines": lines,
        "x": [(round(100 * tick / width, 2), f"{tick:g}") for tick in xticks if tick == int(tick)],
        "y": [(round(100 - 100 * tick / height, 2), f"{tick:g}") for tick in yticks],
    }


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top`, about five of them."""
    if not 0 < top < math.inf:
        return [0]
    power = 10 ** math.floor(math.log10(top / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= top / 4.5)
    return [round(index * step, 10) for index in range(int(top / step + 1e-9) + 1)]


def script_hash() -> str:
    """How the page's Content-Security-Policy names page.js."""
    return base64.b64encode(hashlib.sha256((HERE / "page.js").read_bytes()).digest()).decode()


def render(template: str, folder: Path = HERE, **content: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    text = environment.get_template(template).render(**content)
    # A terminal and a code span show entities as they stand; quotes need none where nothing is written into an attribute.
    return text.replace("&#34;", '"').replace("&#39;", "'") if template.endswith(".md.jinja") else text
