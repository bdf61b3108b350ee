"""Time the novelty filter: rouge_score on all pairs, as in Self-Instruct's code, against stages/synthesize/filters.py.

    python bench/novelty.py [pairs | all]

Both get the same 5,000 instructions, cut from Python's own documentation. rouge_score is timed on random pairs (100,000 by
default) and scaled to all pairs; the filter compares all. Prints on how many of the random pairs, and of the pairs that the
filter calls similar, both agree. Then times the filter alone, up to the 52,000 instructions of the paper.
"""

import itertools
import random
import sys
import time
from pydoc_data.topics import topics

from rouge_score.rouge_scorer import RougeScorer

from stages.synthesize.filters import Novelty

HIGHEST = 0.7  # as published
SIZES = (5_000, 10_000, 20_000, 52_000)


def instructions(count: int) -> list[str]:
    """Return sequences of 5 to 30 words; some overlap, like instructions from a language model."""
    words, rng = " ".join(topics.values()).split(), random.Random(0)
    starts = [(rng.randrange(len(words)), rng.randint(5, 30)) for _ in range(count)]
    return [" ".join(words[start : start + length]) for start, length in starts]


def filtered(texts: list[str]) -> tuple[float, list[str | None]]:
    """Return the seconds and, per text, the filter's reason to reject it; later texts are compared with all of them."""
    started, novelty, reasons = time.perf_counter(), Novelty([], HIGHEST), []
    for text in texts:
        reasons.append(novelty.check(text))
        novelty.add(text)
    return time.perf_counter() - started, reasons


def main() -> None:
    texts = instructions(SIZES[-1])
    few, count = texts[: SIZES[0]], sys.argv[1] if len(sys.argv) > 1 else "100000"
    total = len(few) * (len(few) - 1) // 2
    drawn = list(itertools.combinations(few, 2)) if count == "all" else random_pairs(few, int(count))

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    started = time.perf_counter()
    theirs = [scorer.score(a, b)["rougeL"].fmeasure >= HIGHEST - 1e-12 for a, b in drawn]  # it computes 0.7 as 0.69…
    published = (time.perf_counter() - started) * total / len(drawn)
    ours, reasons = filtered(few)

    same = sum((Novelty([a], HIGHEST).check(b) is not None) == near for (a, b), near in zip(drawn, theirs, strict=True))
    print(f"rouge_score  {published:8.1f} s for {total:,} pairs, from {len(drawn):,} of them")
    print(f"ours         {ours:8.1f} s for {total:,} pairs")
    print(f"ratio        {published / ours:8.0f}")
    print(f"the same decision on {same:,} of {len(drawn):,} pairs, {sum(theirs):,} of them similar")
    similar = [(text, reason) for text, reason in zip(few, reasons, strict=True) if reason]
    right = sum(
        any(scorer.score(a, b)["rougeL"].fmeasure >= HIGHEST - 1e-12 for b in few if repr(b) in reason) for a, reason in similar
    )
    print(f"not new by the filter: {len(similar):,}; rouge_score agrees on {right:,}")
    for size in SIZES:
        print(f"ours, {size:6,} instructions {filtered(texts[:size])[0]:8.1f} s")


def random_pairs(texts: list[str], count: int) -> list[tuple[str, str]]:
    rng = random.Random(1)
    return [(a, b) for a, b in (rng.sample(texts, 2) for _ in range(count))]


if __name__ == "__main__":
    main()
