"""General abilities of a model."""

from stages.figures import Figures
from stages.figures.cost import Machine


class Text(Figures):
    """A text without its first token: bits that the model needs for it, and bytes of UTF-8."""

    bits: float
    bytes: int


class ScoredChoice(Figures):
    """The log-likelihoods (nats) and tokens of a question's options, and the position of the right one."""

    logprobs: list[float]
    tokens: list[int]
    answer: int


class Reply(Figures):
    """A request and the first tokens of its answer."""

    prompt: str
    text: str


class Retained(Figures):
    """General abilities of one model, item by item."""

    texts: list[Text]
    choices: list[ScoredChoice]
    harm: list[Reply]
    harmless: list[Reply]


class RetentionCost(Figures):
    """Time and memory of one measurement, with loading the model."""

    seconds: float
    memory_peak_gib: float
    machine: Machine
