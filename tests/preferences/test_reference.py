"""Log-probabilities of the answers by the tuned model, the reference of DPO and KTO."""

import torch

from stages.models.precision import autocast
from stages.preferences import reference
from stages.preferences.made import Made
from stages.preferences.records import Pair, Vote
from stages.preferences.reference import Answer
from stages.records import Message
from stages.text import chat

PROMPT = (Message(role="user", content="Where?"),)


def direct(lm, answer: Answer) -> tuple[float, int]:
    """Return the sum over an answer's tokens from one pass over the whole row, and their number."""
    prompt, ids = chat.prompt_ids(lm.tokenizer, answer.prompt), reference.answer_ids(lm.tokenizer, answer)
    with torch.inference_mode(), autocast("cpu", "bf16"):
        logits = lm.model(input_ids=torch.tensor([prompt + ids])).logits[0].float()
    likely = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return float(likely.gather(1, torch.tensor(ids)[:, None]).sum()), len(ids)


def test_logprob_sums_the_answer_and_its_end(lm) -> None:
    whole, cut = (Answer(PROMPT, "In Ulm.", stopped) for stopped in (True, False))
    answers = [whole, cut, Answer(PROMPT, "No.", True), Answer(PROMPT, "", False)]
    found = reference.likelihoods(lm, answers)
    for answer in answers[:3]:
        nats, tokens = direct(lm, answer)
        assert found[answer].tokens == tokens
        assert abs(found[answer].logprob - nats) < 0.05
    assert found[whole].tokens == found[cut].tokens + 1
    assert found[answers[3]] == (0.0, 0)


def test_pair_longer_than_the_model_reads_is_left_out(tokenizer) -> None:
    pair = Pair(prompt=PROMPT, chosen="x" * 4100, rejected="No.", source="file", chosen_from="file", rejected_from="file")
    short = pair.model_copy(update={"chosen": "x"})
    found = reference.fitting(tokenizer, Made(pairs=[pair, short]))
    assert (found.pairs, found.dropped) == ([short], {"too long": 1})
    assert reference.fitting(tokenizer, Made(pairs=[short])).dropped == {}


def test_pairs_and_votes_keep_their_logprobs(lm) -> None:
    pair = Pair(prompt=PROMPT, chosen="In Ulm.", rejected="No.", source="file", chosen_from="file", rejected_from="file")
    vote = Vote(prompt=PROMPT, text="No.", good=False, source="people")
    joint, lengths = reference.measured(lm, {"file": Made(pairs=[pair]), "people": Made(votes=[vote])})
    ((scored,), (voted,)) = joint["file"].pairs, joint["people"].votes
    assert scored.rejected_logprob == voted.logprob < 0
    assert scored.id != pair.id
    assert lengths.chosen[0] > lengths.rejected[0] == len(reference.answer_ids(lm.tokenizer, reference.rejected(pair)))


def test_reference_is_what_align_trains_at_its_first_step(adapter, weights, tokenizer) -> None:
    """Both read the base in four bits with the adapter separate; the merged bf16 model would differ."""
    from stages.models.loading import LanguageModel, load_base
    from stages.models.tuned import load_tuned, with_adapter
    from stages.params import Quantization

    nf4 = Quantization(type="nf4", double_quant=True)
    policy = with_adapter(load_base(weights, "cpu", nf4, "bf16", "eager"), adapter, is_trainable=True)
    tuned = load_tuned(weights, adapter, "cpu", nf4, merge=False)
    answers = [Answer(PROMPT, text, True) for text in ("In Ulm.", "Nowhere at all.", "A. " * 20)]
    found = reference.likelihoods(LanguageModel(tuned, tokenizer), answers)
    merged = reference.likelihoods(LanguageModel(load_tuned(weights, adapter, "cpu"), tokenizer), answers)
    for answer in answers:
        nats = direct(LanguageModel(policy, tokenizer), answer)[0]
        assert abs(found[answer].logprob - nats) < 0.2 * abs(merged[answer].logprob - nats) + 0.05
