"""Join the pairs and votes of all sources: no pair twice or in both orders, some prompts held out, everything counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from stages import formatting
from stages.figures.preferences import Judged, PairSource, Preferences, Rated
from stages.preferences import verifier
from stages.preferences.made import Made, changed
from stages.preferences.records import Pair, Sample, Vote
from stages.records import Message, content_hash

R = TypeVar("R", Pair, Vote)
CONTRADICTING = "contradicting"
REMEDIES = {
    "": "add prompts, samples or another source in preference.sources",
    "gap below the margin": "lower preference.margin or raise preference.samples",
    "equal scores": "raise preference.samples or preference.sampling.temperature, or set preference.reference above 0",
    "equal texts": "raise preference.samples or preference.sampling.temperature",
    "too long": "shorten the rows of preference.file, or use a model that reads more",
    "held out": "lower preference.held_out or raise preference.prompts",
    "only single votes": "raise preference.samples or preference.reference; only align=kto learns from votes, of both kinds",
    "inconsistent verdicts": "use a stronger teacher, or raise preference.judge.prompts",
    "no verdict": "use a stronger teacher, or raise preference.judge.max_new_tokens",
    "question of a validation or test row": "name a file with other questions in preference.file",
    CONTRADICTING: "leave a source out of preference.sources, or delete one of the two rows in preference.file",
    "tie": "use a stronger teacher, or raise preference.judge.prompts",
}


def joined(sources: Mapping[str, Made], held_out: float) -> dict[str, Made]:
    """Return what each source made, without what an earlier source made too; pairs and votes are marked if held out.

    Where each of two answers is preferred once, by two sources or by rows of a file, both pairs are left out, and so are votes
    that call one text both good and bad. A vote is also left out where its text is in a pair of the same prompt: KTO uses both
    sides of a pair.
    """
    orders = {(key(pair.prompt), pair.chosen, pair.rejected) for made in sources.values() for pair in made.pairs}
    seen: set[tuple[str, ...]] = set()
    joint: dict[str, Made] = {}
    for name, made in sources.items():
        kept = Made(made.candidates, dropped=made.dropped.copy())
        for pair in made.pairs:
            prompt = key(pair.prompt)
            if (prompt, pair.rejected, pair.chosen) in orders:
                kept.dropped[CONTRADICTING] += 1
                continue
            if (prompt, pair.chosen, pair.rejected) in seen:
                kept.dropped["pair again"] += 1
                continue
            seen |= {(prompt, pair.chosen, pair.rejected), (prompt, pair.chosen), (prompt, pair.rejected)}
            kept.pairs.append(_marked(pair, held_out))
        joint[name] = kept
    verdicts = {(key(vote.prompt), vote.text, vote.good) for made in sources.values() for vote in made.votes}
    taken: dict[tuple[str, ...], str] = dict.fromkeys(seen, "vote on an answer of a pair")
    for name, made in sources.items():
        for vote in made.votes:
            voted = (key(vote.prompt), vote.text)
            if reason := CONTRADICTING if (*voted, not vote.good) in verdicts else taken.get(voted):
                joint[name].dropped[reason] += 1
                continue
            taken[voted] = "vote again"
            joint[name].votes.append(_marked(vote, held_out))
    return joint


def is_held_out(prompt: Sequence[Message], share: float) -> bool:
    """Return whether the pairs of a prompt are not trained on: its hash decides, so all sources agree about it."""
    return int(content_hash(["held out", key(prompt)])[:8], 16) < share * 2**32


def funnel(
    samples: Sequence[Sample],
    no_prompts: Mapping[str, int],
    sources: Mapping[str, Made],
    tokens: tuple[Sequence[int], Sequence[int]],
    judged: Judged | None = None,
    rated: Rated | None = None,
) -> Preferences:
    """Return what became of samples and candidates; `tokens` are the lengths of the chosen and of the rejected answers."""
    groups = verifier.by_prompt(samples).values()
    counted = {name: _counted(made) for name, made in sources.items()}
    return Preferences(
        prompts=len(groups),
        samples=len(samples),
        no_prompts=dict(no_prompts),
        score=_mean([sample.score for sample in samples]),
        right=_mean([verifier.is_right(sample) for sample in samples]),
        mixed=_mean([verifier.is_mixed(group) for group in groups]),
        sources=counted,
        pairs=sum(source.kept for source in counted.values()),
        held_out=sum(source.held_out for source in counted.values()),
        votes=sum(source.votes for source in counted.values()),
        chosen_tokens=_mean(tokens[0]),
        rejected_tokens=_mean(tokens[1]),
        judge=judged,
        people=rated,
    )


def summary(found: Preferences) -> str:
    """Return one line for the terminal."""
    sources = ", ".join(
        f"{name} {source.kept} of {source.candidates}"
        + f" ({source.from_reference} from the reference)" * bool(source.from_reference)
        for name, source in found.sources.items()
    )
    mixed = (
        "" if found.mixed is None else f"; {formatting.percent(found.mixed)} % of {found.prompts} prompts have mixed samples"
    )
    return f"{found.pairs} pairs ({sources}), {found.held_out} held out, {found.votes} votes{mixed}"


def pairs(joint: Mapping[str, Made]) -> list[Pair]:
    return [pair for made in joint.values() for pair in made.pairs]


def votes(joint: Mapping[str, Made]) -> list[Vote]:
    return [vote for made in joint.values() for vote in made.votes]


def nothing_left(joint: Mapping[str, Made]) -> str:
    """Return why there is nothing to learn from and what to change, "" if there is a pair, or votes of both kinds."""
    if not all(pair.held_out for pair in pairs(joint)) or len({vote.good for vote in votes(joint) if not vote.held_out}) > 1:
        return ""
    reasons = Counter({"held out": len(pairs(joint)), "only single votes": len(votes(joint))})
    for made in joint.values():
        reasons += made.dropped
    reason, count = next(iter(reasons.most_common(1)), ("", 0))
    candidates = sum(made.candidates for made in joint.values())
    why = f"; {count} times: {reason}" if count else ""
    return f"preference: no pair is left of {candidates} candidates{why}; {REMEDIES.get(reason, REMEDIES[''])}"


def _counted(made: Made) -> PairSource:
    return PairSource(
        candidates=made.candidates,
        dropped=dict(made.dropped),
        kept=len(made.pairs),
        held_out=sum(pair.held_out for pair in made.pairs),
        from_reference=sum(pair.chosen_from == "reference" for pair in made.pairs),
        votes=len(made.votes),
    )


def key(prompt: Sequence[Message]) -> str:
    """Return the hash by which all sources know a prompt."""
    return content_hash([message.model_dump() for message in prompt])


def _marked(record: R, share: float) -> R:
    return changed(record, held_out=True) if is_held_out(record.prompt, share) else record


def _mean(numbers: Sequence[float]) -> float | None:
    return round(sum(numbers) / len(numbers), 6) if numbers else None
