"""The section `engine`: who answers the rows of the split, and what cannot be asked of a server."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stages.params import headline
from stages.params.after import Answering
from stages.params.base import Count, Section, Seed, Text
from stages.params.synthesis import Connection

if TYPE_CHECKING:
    from stages.params.whole import Params

SYSTEM = "SYSTEM"  # in a name of a model: the name of the system; braces would need quotes in a shell and in Hydra
DERIVED = ("engine.here.", "engine.served.")  # keys that are composed from others
OF_CHOICES = "logprob_accuracy"  # the metric of rows whose choices are scored by their likelihood


class Systems(Section):
    """Systems that some stages answer: the base by the examples in its prompt, the tuned model by seed."""

    shots: list[Count]
    seeds: list[Seed]


class TransformersEngine(Section):
    """transformers in this process. A matrix of dvc.yaml reads `here`, another one `served`, so that one of them is empty."""

    kind: Literal["transformers"]
    here: Systems
    served: Systems


class Served(Section):
    """A server's names of the models; in `tuned`, SYSTEM stands for the name of the system."""

    base: Text
    tuned: Text

    def name(self, system: str) -> str:
        return self.base if system.startswith("base_") else self.tuned.replace(SYSTEM, system)


class OpenAIEngine(Section):
    """A server with OpenAI's chat completions."""

    kind: Literal["openai"]
    models: Served
    agreement_rows: Count
    server: Connection
    here: Systems
    served: Systems


Engine = Annotated[TransformersEngine | OpenAIEngine, Field(discriminator="kind")]


def mistakes(p: "Params") -> list[str]:
    """Return the refused combinations with `engine`, each with its reason."""
    derived = []
    for side in ("here", "served"):
        found: Systems = getattr(p.engine, side)
        answers = (side == "here") == (p.engine.kind == "transformers")
        for key, name, given in (("shots", "predict.shots", p.predict.shots), ("seeds", "seeds", p.seeds)):
            if getattr(found, key) != (wanted := given if answers else []):
                derived.append(
                    f"engine.{side}.{key} = {getattr(found, key)}, but {name} = {given} and engine.kind = {p.engine.kind} give "
                    f"{wanted}: it is composed; set engine and {name} with `tunetrail compose` or `dvc exp run -S`"
                )
    return [*derived, *(_unserved(p, p.engine) if p.engine.kind == "openai" else [])]


def advice(p: "Params") -> list[str]:
    """Return one line if the run asks for likelihoods, which a server does not give."""
    if p.engine.kind != "openai" or not p.predict.likelihood_rows:
        return []
    return [
        f"predict.likelihood_rows = {p.predict.likelihood_rows} with engine.kind = openai: a server gives no likelihoods of "
        "references, so the report has no perplexity; set it to 0"
    ]


def _unserved(p: "Params", engine: OpenAIEngine) -> list[str]:
    """Return what only transformers in this process can do, and names under which two systems would be one."""
    asked = "engine.kind = openai"
    names = [engine.models.name(f"tuned_{seed}") for seed in dict.fromkeys(p.seeds)]
    checks = [
        (
            p.predict.constrain != "none",
            f"predict.constrain = {p.predict.constrain} with {asked}: a server's own grammar would be another task; set "
            "predict.constrain=none",
        ),
        (
            any(OF_CHOICES in kind.metrics for kind in headline.possible(p.data, p.predict.split)),
            f"{asked}: the rows have choices, which are scored by their likelihoods, and a server gives none; use "
            "engine=transformers",
        ),
        (p.predict.passage, f"predict.passage with {asked}: only transformers answers with passages; set it to false"),
        (bool(p.predict.kept), f"predict.kept with {asked}: only transformers answers with kept adapters; set it to []"),
        (
            isinstance(p.align, Answering),
            f"align.method = {p.align.method} with {asked}: only transformers answers with aligned models; set align=none",
        ),
        (
            "temperature" in engine.server.omit,
            "engine.server.omit: without temperature a server draws its answers, and they would differ between runs; leave "
            "it out, or use engine=transformers",
        ),
        (
            len(set(names)) < len(names),
            f"engine.models.tuned = {engine.models.tuned}: all seeds would be one model; write {SYSTEM} where the name of the "
            "system stands, e.g. tuned_42",
        ),
        (
            engine.models.base in names,
            f"engine.models.base = {engine.models.base}: the tuned model has the same name; the server must tell them apart",
        ),
    ]
    return [reason for refused, reason in checks if refused]
