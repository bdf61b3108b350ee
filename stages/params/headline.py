"""Whether a metric that the section `report` names can be measured: which metrics and slices the rows of a run have."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from stages.params.rows import RowsData
from stages.params.sources import Data, Items

if TYPE_CHECKING:
    from stages.params.whole import Params

CHOSEN = ("accuracy", "logprob_accuracy", "logprob_accuracy_norm")
FIELD = "<field>_exact"  # one for each field of the references
METRICS = {  # of an answer of each task, as stages/evaluate gives them
    "extraction": ("field_exact", "record_exact", "field_exact_lenient", "json_valid", "json_found", "schema_valid", FIELD),
    "text": ("exact_match", "token_f1", "rouge_l", "answered"),
    "choice": CHOSEN,
    "classification": CHOSEN,
    "summary": ("rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "rouge_w", "rouge_s"),
    "translation": ("sentence_chrf", "sentence_bleu"),
}
DECLINED = ("declined",)  # instead of those of text, where the right answer is to decline
STYLE = ("length_in_band", "required_phrases", "no_forbidden_phrases")  # of rows with a style
EVERY = ("stop_rate",)  # of every answer
Ability = Literal["bits_per_byte", "choice_accuracy", "refusal_rate", "over_refusal_rate"]  # measured apart from the split
RETENTION: tuple[str, ...] = get_args(Ability)
FEWEST = 6  # texts of which a sign-flip test can be significant: with five, p is at least 2 / 2**5
MOST = 20  # names that a message lists


class Kind(NamedTuple):
    """Rows that have the same metrics and are in the same slices."""

    metrics: tuple[str, ...]
    slices: tuple[str, ...] = ()


def mistakes(p: "Params") -> list[str]:
    """Return a line for the headline and for each metric of the gate that cannot be measured or judged.

    These are what the parameters show; fetch looks at the rows themselves.
    """
    found = _unmeasured(p, p.report.headline)
    lines = [f"report.headline = {p.report.headline}: {found}"] if found else []
    for metric in p.report.gate or ():
        if metric == p.report.headline:
            found = "it is report.headline, which report.margin judges; leave it out"
        elif metric == "bits_per_byte" and p.retention.texts < FEWEST:
            found = f"retention.texts = {p.retention.texts}: of fewer than {FEWEST} texts no loss is significant; raise it"
        elif metric not in RETENTION and (found := _unmeasured(p, metric)):
            found += f"; general abilities have {', '.join(RETENTION)}"
        else:
            continue
        lines.append(f"report.gate.{metric}: {found}")
    return lines


def _unmeasured(p: "Params", metric: str) -> str:
    """Return why no row that is scored can have a metric or metric@slice, empty if one can."""
    what = f"data.task = {p.data.task}" if p.data.kind == "rows" else f"data.kind = {p.data.kind}"
    return mistake(metric, possible(p.data, p.predict.split), what)


def mistake(named: str, kinds: Iterable[Kind], what: str) -> str:
    """Return why none of these rows has a metric or metric@slice, empty if one has; `what` names the rows."""
    metric, _, only = named.partition("@")
    kinds = list(kinds)
    inside = [kind for kind in kinds if not only or only in kind.slices]
    if not _named(kinds, metric):
        return f"{what} has no such metric; there are {_listed([*(kind.metrics for kind in kinds), EVERY])}"
    if not inside:
        return f"{what} has no slice {only}; there are {_listed(kind.slices for kind in kinds)}"
    if not _named(inside, metric):
        return f"rows of the slice {only} have no {metric}; they have {_listed([*(kind.metrics for kind in inside), EVERY])}"
    return ""


def possible(data: Data, split: str) -> Iterator[Kind]:
    """Yield the kinds of rows that a split may have, as far as the parameters show."""
    if data.kind == "rows":
        yield from _of_rows(data)
    elif data.kind == "mix":
        for name, part in data.sets.items():
            for kind in _of_rows(part):
                yield Kind(kind.metrics, (name, *(f"{name}_{slice}" for slice in kind.slices)))
    elif data.kind == "documents":
        yield Kind(METRICS["text"], ("answerable",))
        yield from (Kind(DECLINED, (slice,)) for slice in ("unanswerable", "out_of_domain"))
    elif data.kind == "graph":
        asked: Items = getattr(data.rows, split)
        metrics = {"open": METRICS["text"], "unanswerable": DECLINED}
        yield from (Kind(metrics.get(slice, CHOSEN), (slice,)) for slice, count in asked if count)
    else:
        shares = {name: getattr(data, name) for name in ("missing", "second_email", "noise")}
        shares["accents"] = getattr(data.accents, split)
        yield Kind(METRICS["extraction"], ("clean", *(name for name, share in shares.items() if share)))


def _of_rows(data: RowsData) -> Iterator[Kind]:
    styled = data.columns != "auto" and data.columns.style
    metrics = (*METRICS[data.task], *(STYLE if styled else ()))
    count = len(data.wordings)
    yield from (Kind(metrics, (f"wording_{n}",) if count > 1 else ()) for n in range(1, max(count, 1) + 1))


def _named(kinds: Iterable[Kind], metric: str) -> bool:
    names = {*EVERY, *(name for kind in kinds for name in kind.metrics)}
    return metric in names or (FIELD in names and metric.endswith("_exact"))


def _listed(names: Iterable[Iterable[str]]) -> str:
    found = list(dict.fromkeys(name for each in names for name in each))
    return ", ".join([*found[:MOST], *(["…"] if found[MOST:] else [])]) or "none"
