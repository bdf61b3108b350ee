"""Who answered: the engine behind a server, and what its predictions cost."""

from stages.figures import Figures
from stages.figures.answers import PredictionCost

UNKNOWN = "unknown"


class Engine(Figures):
    """`server` and `version` are a server's own words, "unknown" where it has none; `model` is its name of the model."""

    kind: str
    server: str
    version: str
    model: str

    @property
    def name(self) -> str:
        """Return what two systems must share to be compared, e.g. `vllm 0.11.0`."""
        return f"{self.server} {self.version}" if {self.server, self.version} != {UNKNOWN} else "an unknown server"


class ServedCost(PredictionCost):
    """`machine` is the one that asked; `asked` counts the requests of this run, the other answers were there already."""

    engine: Engine
    asked: int
    retries: int
