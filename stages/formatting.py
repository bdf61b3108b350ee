"""Numbers and names as pages show them."""

import re
from collections.abc import Mapping
from typing import Any

from stages.figures.training import TrainingCost
from stages.systems import PASSAGE

METRICS = {
    "json_valid": ("valid JSON", "the whole answer parses as one JSON object"),
    "json_found": ("JSON found", "the answer holds a JSON object; text around it does not count"),
    "field_exact": ("fields exact", "share of a record's fields that equal the reference; null equals only null"),
    "field_exact_lenient": ("fields exact, lenient", "the same share of the first JSON object in the answer"),
    "record_exact": ("records exact", "every field of the record equals the reference"),
    "exact_match": ("exact match", "the answer equals the reference"),
    "token_f1": ("token F1", "overlap of the words of answer and reference"),
    "schema_valid": ("schema valid", "the object has exactly the reference's keys, with values of their kinds"),
    "rouge_1": ("ROUGE-1", "words in common, as F1"),
    "rouge_2": ("ROUGE-2", "pairs of neighbouring words in common, as F1"),
    "rouge_l": ("ROUGE-L", "longest common subsequence of words, as F1"),
    "rouge_lsum": ("ROUGE-Lsum", "longest common subsequences of words by sentence, as F1"),
    "rouge_w": ("ROUGE-W", "longest common subsequence of words, where words in a row count more, as F1"),
    "rouge_s": ("ROUGE-S", "pairs of words in common, with any gap, as F1"),
    "sentence_bleu": ("BLEU of single answers", "words and phrases in common with the reference; the mean over answers"),
    "sentence_chrf": ("chrF of single answers", "character sequences in common with the reference; the mean over answers"),
    "answered": ("answered", "the answer is neither empty nor declines, on questions that have an answer"),
    "declined": ("declined", "the answer declines, on questions that have no answer"),
    "accuracy": ("accuracy", "the answer written names the right choice"),
    "logprob_accuracy": ("log-likelihood accuracy", "the right choice is the likeliest as a whole"),
    "logprob_accuracy_norm": ("log-likelihood accuracy by token", "the right choice is the likeliest by its mean token"),
    "length_in_band": ("length in band", "the answer has the number of words that its row asks for"),
    "required_phrases": ("required phrases", "the answer has every phrase that its row requires"),
    "no_forbidden_phrases": ("no forbidden phrases", "the answer has no phrase that its row forbids"),
    "stop_rate": ("stopped by itself", "the answer ended before the limit of new tokens"),
}
UP, DOWN = "higher is better", "lower is better"
TOTALS = {  # label, unit, direction
    "bleu": ("BLEU", "0 to 100", UP),
    "bleu_brevity_penalty": ("brevity penalty of BLEU", "0 to 1", "1 is none"),
    "bleu_signature": ("signature of BLEU", "", ""),
    "chrf": ("chrF", "0 to 100", UP),
    "chrf_signature": ("signature of chrF", "", ""),
    "macro_f1": ("macro F1", "0 to 1", UP),
    "disagreement": ("disagreement of answer and likeliest choice", "0 to 1", DOWN),
    "brier": ("Brier score", "0 to 2", DOWN),
    "ece": ("expected calibration error", "0 to 1", DOWN),
    "order_agreement": ("order agreement of answers", "0 to 1", UP),
    "logprob_order_agreement": ("order agreement of likelihoods", "0 to 1", UP),
    "questions": ("questions", "each counted once in all its orders", ""),
    "decline_balanced": ("balanced accuracy of declining", "0 to 1", UP),
    "empty": ("empty answers", "0 to 1", DOWN),
    "repetition": ("repeated 3-grams", "0 to 1", DOWN),
    "length_ratio": ("length ratio to the references", "in words", "1 is equal"),
    "perplexity": ("perplexity of the references", "per token", DOWN),
    "bits_per_byte": ("bits per byte of the references", "", DOWN),
}
SHARES = ("_precision", "_recall", "_f1", "_macro")  # ends of totals by field or ROUGE, from 0 to 1
MINUS, SPACE = "\u2212", "\u202f"  # a true minus sign and a narrow no-break space
FEW_CLUSTERS = 10
LONGEST = 2000  # characters of one text on the page


def metric_name(metric: str) -> str:
    """Return a readable name; `metric@slice` becomes `metric on slice`."""
    metric, _, only = metric.partition("@")
    if only:
        return f"{metric_name(metric)} on {only.replace('_', ' ')}"
    if metric in METRICS:
        return METRICS[metric][0]
    return f"{metric.removesuffix('_exact')} exact" if metric.endswith("_exact") else metric.replace("_", " ")


def metric_help(metric: str) -> str:
    return METRICS.get(metric.partition("@")[0], ("", ""))[1]


def total_name(total: str) -> str:
    """Return a readable name with unit and direction; `total@data_set` becomes `total on data set`."""
    name, _, only = total.partition("@")
    plain = name.replace("_", " ")
    label, *more = TOTALS.get(name, (plain, "0 to 1", UP) if name.endswith(SHARES) else (plain,))
    known = ", ".join(filter(None, more))
    return label + (f" on {only.replace('_', ' ')}" if only else "") + (f" ({known})" if known else "")


def system_name(system: str) -> str:
    shots = re.fullmatch(r"base_(\d+)shot", system)
    if system.endswith(PASSAGE):
        return f"{system_name(system.removesuffix(PASSAGE))}, passage in the prompt"
    if not shots:
        return system.replace("_", " ")
    return {0: "base, no examples", 1: "base, 1 example"}.get(int(shots[1]), f"base, {shots[1]} examples")


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    points = round(100 * share, 1)
    return f"{points:+.1f}".replace("-", MINUS) if points else "0.0"


def rate(found: Any) -> str:
    """Format a mean and its interval; `found` has mean, low and high."""
    return f"{percent(found.mean)} ({percent(found.low)}–{percent(found.high)})"


def difference(found: Any) -> str:
    return f"{signed(found.mean)} ({signed(found.low)} to {signed(found.high)})"


def probability(p: float) -> str:
    return f"p{SPACE}<{SPACE}0.001" if p < 0.001 else f"p{SPACE}={SPACE}{p:.3f}"


def number(value: float) -> str:
    return f"{value:,.0f}"


def row_count(rows: int, questions: float | str | None) -> str:
    """Return the number of rows; where questions come in several orders of their options, also that of the questions."""
    if not isinstance(questions, int | float):
        return f"{number(rows)} rows"
    return f"{number(rows)} rows ({number(questions)} questions, in {rows / questions:.3g} orders on average)"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h {minutes}{SPACE}min" if hours else f"{minutes}{SPACE}min {rest}{SPACE}s"


def size(value: float) -> str:
    """Return bytes in decimal units, as file managers and model pages give them."""
    unit = next(unit for unit in (1e9, 1e6, 1e3, 1) if value >= unit or unit == 1)
    name = {1e9: "GB", 1e6: "MB", 1e3: "kB", 1: "B"}[unit]
    return f"{value / unit:.1f}{SPACE}{name}" if unit > 1 else f"{value:.0f}{SPACE}{name}"


def gib(value: float) -> str:
    """Return memory in GiB (2**30 bytes), as papers and GPU tools print it."""
    return f"{value:.3f}{SPACE}GiB"


def figure(value: float | str | None) -> str:
    """Format a total, which may have any size or unit."""
    if value is None or isinstance(value, str):
        return "–" if value is None else value
    return f"{value:{',.0f' if 1e3 <= abs(value) < 1e9 else '.4g'}}".replace("-", MINUS)  # a count needs no exponent


def bounds(numbers: Mapping[str, float | str], total: str) -> str:
    """Return the interval of a total, empty where it has none."""
    ends = [figure(numbers[end]) for end in (f"{total}_lo", f"{total}_hi") if end in numbers]
    return f" [{', '.join(ends)}]" if ends else ""


def clip(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} more characters)"


def gpu_memory(cost: TrainingCost) -> str:
    """Return the GPU memory that training took, with the share of the card, and the training time."""
    before, peak, total, seconds = cost.memory_before_gib, cost.memory_reserved_gib, cost.memory_total_gib, cost.train_seconds
    assert peak is not None and total is not None
    return (
        f"{gib(total)} of GPU memory; reserved before training {gib(before)}, at the peak {gib(peak)} "
        f"({percent(peak / total)}{SPACE}%), of which for training {gib(peak - before)} "
        f"({percent((peak - before) / total)}{SPACE}%); trained in {seconds:.1f}{SPACE}s, {seconds / 60:.2f} minutes"
    )
