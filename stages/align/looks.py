"""Looks at rows that are not trained on, while aligning: the task's metric, held-out pairs, distance from the tuned model.

Pairs can be learned while answers do not improve, so the task decides when to stop, and the pairs are shown next to it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer, TrainerCallback

from stages.align import trainers, weights
from stages.align.merged import merged
from stages.generation import decoding, likelihoods
from stages.models.loading import LanguageModel
from stages.preferences import reference, sampling, verifier
from stages.preferences.made import Made
from stages.preferences.records import Pair, Sample
from stages.preferences.reference import Answer
from stages.records import Example
from stages.text import chat

ROWS = 32  # validation rows answered at a time
KL_ROWS = 8  # answers at a time whose distributions are compared; two tensors of logits in fp32 are the largest of a look
MARK = "look_"  # begins the names of a look's numbers in the log of a run
Look = Callable[[], dict[str, float]]


@contextmanager
def answering(model: PreTrainedModel) -> Iterator[None]:
    """Let a model that is being trained answer in the block: decoding chooses another attention."""
    attention, training = model.get_base_model().config._attn_implementation, model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        if model.get_base_model().config._attn_implementation != attention:
            model.get_base_model().set_attn_implementation(attention)


def validation(examples: Sequence[Example], count: int) -> list[Example]:
    """Return rows whose answer is plain text, as samples are, drawn by their ids: the first may all be of one kind."""
    rows = [example for example in examples if not sampling.no_prompt(example)]
    return sorted(rows, key=lambda example: example.id)[:count]


def at_answers(
    lm: LanguageModel, tuned: weights.Weights, examples: Sequence[Example], pairs: Sequence[Pair], limit: int
) -> dict[str, float]:
    """Return the numbers of a look, as figures.AlignmentLook names them.

    `kl` is measured on the model's own greedy answers: the mean over their tokens of KL(model ‖ tuned model), each computed
    over the whole vocabulary (nats). `margin` is the mean log-ratio to the reference of chosen less rejected answers (nats).
    """
    found: dict[str, float] = {}
    with answering(lm.model):
        if examples:
            samples = _answers(lm, examples, limit)
            found |= {"task": _mean([sample.score for sample in samples])}
            found |= {"right": _mean([float(verifier.is_right(sample)) for sample in samples])}
            found |= {"stop_rate": _mean([float(sample.stopped) for sample in samples])}
            found |= {"kl": divergence(lm, tuned, _given(examples, samples))}
        if pairs:
            gaps = margins(lm, pairs)
            found |= {"pair_accuracy": _mean(preferred(gaps)), "margin": _mean(gaps)}
    return {name: round(value, 6) for name, value in found.items()}


def margins(lm: LanguageModel, pairs: Sequence[Pair]) -> list[float]:
    """Return the log-ratio to the reference of the chosen answer less that of the rejected one, of each pair (nats)."""
    answers = [answer for pair in pairs for answer in (reference.chosen(pair), reference.rejected(pair))]
    known = reference.likelihoods(lm, answers, quiet=True)
    return [
        known[reference.chosen(pair)].logprob
        - pair.chosen_logprob
        - (known[reference.rejected(pair)].logprob - pair.rejected_logprob)
        for pair in pairs
    ]


def right(lm: LanguageModel, pairs: Sequence[Pair], precision: str) -> list[float]:
    """Return `preferred` of these pairs, after training."""
    with trainers.opened(lm.model, precision), answering(lm.model):
        return preferred(margins(lm, pairs))


def preferred(margins: Sequence[float]) -> list[float]:
    """Return, for each margin, 1 if the chosen answer gained more, 0 if it gained less, and 0.5 for a tie."""
    return [0.5 if margin == 0 else float(margin > 0) for margin in margins]


def remeasured(lm: LanguageModel, precision: str, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs with the model's log-probabilities as looks compute them, so that it ties with itself exactly."""
    with trainers.opened(lm.model, precision), answering(lm.model):
        found, _ = reference.measured(lm, {"": Made(pairs=list(pairs))})
    return found[""].pairs


def divergence(lm: LanguageModel, tuned: weights.Weights, answers: Sequence[Answer]) -> float:
    """Return the mean over answer tokens of KL(model ‖ tuned model), in nats."""
    rows = [(chat.prompt_ids(lm.tokenizer, each.prompt), reference.answer_ids(lm.tokenizer, each)) for each in answers]
    rows = sorted((row for row in rows if row[1]), key=lambda row: len(row[0]) + len(row[1]))
    total, tokens = 0.0, 0
    for batch in (rows[at : at + KL_ROWS] for at in range(0, len(rows), KL_ROWS)):
        prompts, added = [prompt for prompt, _ in batch], [ids for _, ids in batch]
        now = likelihoods.predictions(lm, prompts, added)
        with weights.using(lm.model, tuned):
            then = likelihoods.predictions(lm, prompts, added)
        for ours, theirs in zip(now, then, strict=True):
            ours, theirs = ours.float().log_softmax(-1), theirs.float().log_softmax(-1)
            total += float((ours.exp() * (ours - theirs)).sum())
            tokens += len(ours)
    return total / max(tokens, 1)


def _answers(lm: LanguageModel, examples: Sequence[Example], limit: int) -> list[Sample]:
    """Return the greedy answer to each row, scored as samples are."""
    prompts = [chat.prompt_ids(lm.tokenizer, example.prompt) for example in examples]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, decoding.Completion] = {}
    with merged(lm.model):
        for batch in (order[at : at + ROWS] for at in range(0, len(order), ROWS)):
            found.update(zip(batch, decoding.greedy(lm, [prompts[i] for i in batch], limit), strict=True))
    samples = [
        Sample(example=example.id, number=0, text=given.text, stopped=given.stopped, new_tokens=given.new_tokens)
        for example, given in ((example, found[i]) for i, example in enumerate(examples))
    ]
    return verifier.scored(examples, samples)


def _given(examples: Sequence[Example], samples: Sequence[Sample]) -> list[Answer]:
    pairs = zip(examples, samples, strict=True)
    return [Answer(example.prompt, sample.text, sample.stopped) for example, sample in pairs]


class Watch(TrainerCallback):
    """Look before the first step, every `every` steps and after the last; stop after `patience` looks without a better score.

    The weights of the best look are stored in `best`. What a resumed run needs of earlier looks is in the log of the run.
    """

    def __init__(self, look: Look, score: str, every: int, patience: int | None, best: Path) -> None:
        self.look, self.score, self.every, self.patience, self.best = look, MARK + score, every, patience, best
        self.trainer: Any = None

    def on_train_begin(self, args, state, control, **_):  # type: ignore[no-untyped-def]
        if not state.global_step:
            self._look(state, control)

    def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
        if state.global_step % self.every == 0 or state.global_step >= state.max_steps:
            self._look(state, control)

    def _look(self, state: Any, control: Any) -> None:
        found, wanted = {MARK + name: value for name, value in self.look().items()}, control.should_log
        Trainer.log(self.trainer, found)  # TRL's own would mix in the numbers of training
        control.should_log = wanted  # transformers takes any logging for that of the step
        scores = [entry[self.score] for entry in state.log_history if self.score in entry]
        if not self.patience or not scores:
            return
        first = scores.index(max(scores))
        if first == len(scores) - 1:
            weights.store(weights.trained(self.trainer.model), self.best)
        control.should_training_stop = control.should_training_stop or len(scores) - 1 - first >= self.patience


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
