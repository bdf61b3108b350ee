"""Translation: BLEU and chrF by sacrebleu, with the signatures that record how they were computed."""

from collections.abc import Sequence

from stages.records import Example, Prediction
from stages.text.words import script

# sacrebleu's tokenizers for Japanese and Korean need more packages; without them it recommends characters.
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "other": "13a"}


def score(example: Example, prediction: Prediction) -> tuple[dict[str, float], dict[str, float]]:
    """Return chrF and smoothed BLEU with effective order of this item, divided by 100."""
    from sacrebleu.metrics import BLEU, CHRF

    right = [example.reference]
    bleu = BLEU(tokenize=TOKENIZERS[script(example.reference)], effective_order=True).sentence_score(prediction.text, right)
    chrf = CHRF().sentence_score(prediction.text, right)
    return {"sentence_chrf": min(chrf.score / 100, 1.0), "sentence_bleu": min(bleu.score / 100, 1.0)}, {}


def totals(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float | str]:
    """Return corpus BLEU (Papineni et al. 2002, P02-1040) and chrF (Popović 2015, W15-3049) from 0 to 100, as papers do.

    `bleu_brevity_penalty` is the factor at or below 1 by which BLEU was lowered for answers shorter than the references.
    """
    from sacrebleu.metrics import BLEU, CHRF

    answers, right = [prediction.text for prediction in predictions], [[example.reference for example in examples]]
    bleu, chrf = BLEU(tokenize=TOKENIZERS[script(" ".join(right[0]))]), CHRF()
    corpus_bleu = bleu.corpus_score(answers, right)
    return {
        "bleu": corpus_bleu.score,
        "bleu_brevity_penalty": corpus_bleu.bp,
        "bleu_signature": str(bleu.get_signature()),
        "chrf": chrf.corpus_score(answers, right).score,
        "chrf_signature": str(chrf.get_signature()),
    }
