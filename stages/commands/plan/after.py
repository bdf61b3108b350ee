"""What the trial runs of `pairs` and `align` share: pairs to expect, a fresh adapter, the time to sample and to score."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from stages import records
from stages.align import rows
from stages.commands.plan import measures
from stages.errors import DataError
from stages.files import read_json
from stages.generation.decoding import Completion, greedy
from stages.generation.sampling import sample
from stages.models.loading import LanguageModel, load_base, open_model
from stages.models.manifest import read_manifest
from stages.params import Params, Preference, Runtime
from stages.preferences import feedback, file, making, people, reference, sampling
from stages.preferences.made import changed
from stages.preferences.records import Pair, Vote
from stages.preferences.reference import Answer
from stages.records import Example
from stages.text import chat
from stages.training import adapt

FORMATTED, PAIRS, FEEDBACK = Path("data/formatted"), Path("data/pairs"), Path("data/feedback")
R = TypeVar("R", Pair, Vote)


@dataclass(frozen=True)
class Expected:
    """The prompts that the stage pairs samples, and the pairs and votes that it is expected to make."""

    prompts: list[Example]
    pairs: list[Pair]
    votes: list[Vote]


def expected(p: Params, seed: int) -> Expected:
    """Return what the stage pairs has made with these settings, else what it is expected to make.

    Before it ran, no sample is known: each prompt that is sampled counts as one pair, with the training row's reference as
    both sides. Pairs of files, sheets and feedback are read as they are.
    """
    settings, folder = p.preference, PAIRS / str(seed)
    train, *others = (list(records.read(FORMATTED / f"{split}.jsonl", Example)) for split in ("train", "valid", "test"))
    prompts = sampling.drawn(train, settings.prompts, seed)[0][: settings.sampled]
    made = folder / "settings.json"
    if made.is_file() and read_json(made) == {"seed": seed, "preference": settings.model_dump()}:
        return Expected(prompts, rows.read_pairs(folder), rows.read_votes(folder))
    sources = [file.made(Path(settings.file), chain.from_iterable(others))] if "file" in settings.sources else []
    sources += [people.made(Path(settings.sheets), train, settings.margin)[0]] if "people" in settings.sources else []
    sources += [feedback.made(FEEDBACK)] if "feedback" in settings.sources else []
    pairs, votes = [pair for made in sources for pair in made.pairs], [vote for made in sources for vote in made.votes]
    pairs += map(_of_reference, prompts)
    if not pairs and not votes:
        raise DataError("preference: no training row can be sampled, and no source has pairs; use other data")
    share = settings.held_out
    return Expected(prompts, [_marked(pair, share) for pair in pairs], [_marked(vote, share) for vote in votes])


def _of_reference(example: Example) -> Pair:
    answer = example.reference
    return Pair(
        example=example.id,
        prompt=example.prompt,
        chosen=answer,
        rejected=answer,
        source="verifier",
        chosen_from="reference",
        rejected_from="reference",
    )


def _marked(record: R, share: float) -> R:
    return changed(record, held_out=making.is_held_out(record.prompt, share))


def store_adapter(p: Params, runtime: Runtime, folder: Path) -> None:
    """Store a fresh adapter: train's is not there yet, and has the same size."""
    manifest = read_manifest()
    base = open_model(runtime, lambda weights, device: load_base(weights, device, p.quantization), manifest)
    model = adapt.attach(base.model, p.adapter, p.lora, p.seeds[0], steps=100, start_from=p.train.start)
    adapt.save(LanguageModel(model, base.tokenizer), folder, manifest)


def sampled(lm: LanguageModel, prompts: Sequence[Example], settings: Preference, seed: int) -> measures.Decoded:
    """Measure the samples of the stage pairs, in batches of prompts of similar length, as it forms them."""

    def draw(lm: LanguageModel, asked: Sequence[list[int]], tokens: int) -> list[Completion]:
        return sample(lm, asked, settings.sampling.model_copy(update={"max_new_tokens": tokens}), seed)

    repeated = [example for example in prompts for _ in range(settings.samples)]
    return answered(lm, repeated, settings.batch_size, settings.sampling.max_new_tokens, draw)


def answered(
    lm: LanguageModel, examples: Sequence[Example], size: int, most: int, decode: measures.Decode = greedy
) -> measures.Decoded:
    """Measure answers in batches of `size` rows; each batch is expected to end with its longest reference, or at `most`."""
    asked = [(chat.prompt_ids(lm.tokenizer, e.prompt), len(chat.answer_ids(lm.tokenizer, e.messages))) for e in examples]
    formed = measures.parts(sorted(asked, key=lambda row: (len(row[0]), row)), size)
    tokens = [min(most, max(length for _, length in batch)) for batch in formed]
    return measures.decoded(lm, [[prompt for prompt, _ in batch] for batch in formed], tokens, most, decode)


def scored(lm: LanguageModel, answers: Sequence[Answer]) -> float:
    """Return the seconds that the reference takes for one of these answers, on average."""
    sizes = {answer: length(lm, answer) for answer in answers}
    ordered = sorted(sizes, key=lambda answer: sizes[answer])
    if not ordered:
        return 0.0
    reference.likelihoods(lm, ordered[-reference.ROWS :], quiet=True)  # takes the most memory, and the first use costs extra
    tried = measures.middle(ordered, reference.ROWS)
    seconds = measures.seconds(lambda: reference.likelihoods(lm, tried, quiet=True))
    return seconds / sum(sizes[answer] for answer in tried) * sum(sizes[answer] for answer in answers) / len(answers)


def length(lm: LanguageModel, answer: Answer) -> int:
    """Return the tokens of an answer with its prompt."""
    return len(chat.prompt_ids(lm.tokenizer, answer.prompt)) + len(reference.answer_ids(lm.tokenizer, answer))


def of_pairs(pairs: Sequence[Pair]) -> list[Answer]:
    return [answer for pair in pairs for answer in (reference.chosen(pair), reference.rejected(pair))]
