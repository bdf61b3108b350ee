"""Warn of a method that kept nothing, got few whole replies or lacks rows: the true reason, and what to change."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel

from stages.records import Call
from stages.synthesize.made import Made
from stages.teachers.answers import incomplete, unfinished
from stages.terminal import visible


def warning(method: str, made: Made, calls: Sequence[Call]) -> str:
    """Return why a method kept nothing, that most replies are not whole or which rows lack; else "". It quotes no text."""
    lost = [reason for call in calls if (reason := unfinished(call))]
    most = 2 * len(lost) > len(calls)
    sentences = []
    if not made.kept:
        rows = "the seed tasks alone" if made.tasks else "no training rows"
        sentences.append(f"{method} kept nothing, so it adds {rows}.")
    if lost and (most or not made.kept):
        sentences += [f"{incomplete(calls)}.", _remedy(method, Counter(lost).most_common(1)[0][0])]
    if not made.kept and not most:
        sentences.append(_thrown(method, made))
    return " ".join(filter(None, [*sentences, made.lacking]))


def _remedy(method: str, reason: str) -> str:
    if "max_new_tokens" in reason:
        or_less = ", or turn the teacher's thinking off" if "thoughts" in reason else ""
        return f"Raise max_new_tokens in synthesis.{method}{or_less}."
    if "thoughts" in reason:
        return "The server may take answers for thoughts: check its reasoning parser."
    return "" if "refused" in reason else f"data/synthetic/{method}/calls.jsonl holds the replies."


def _thrown(method: str, made: Made) -> str:
    thrown = Counter(rejection.filter for rejection in made.rejected)
    if not thrown:
        return "There was no candidate."
    name, count = thrown.most_common(1)[0]
    return (
        f"Its filter {name!r} rejected {count} of {thrown.total()} texts; data/synthetic/{method}/rejected.jsonl holds each "
        "with the reason."
    )


def show(text: str) -> None:
    """Print a warning in a frame, since the output of later stages follows it."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console.print(Panel(visible(text), title="warning", style="bold red"))
