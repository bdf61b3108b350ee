"""What all costs have in common: the machine, and the requests to a teacher."""

from stages.figures import Figures


class Machine(Figures):
    device: str
    device_name: str
    threads: int
    cores: int | None
    python: str
    platform: str
    computes_in: str | None = None  # what it computes in place of bf16
    versions: dict[str, str]


class TeacherCost(Figures):
    """Cost of a run; `asked` and `refused` count only the requests of this run, tokens those of all answers."""

    calls: int
    asked: int
    retries: int
    refused: int
    teacher_seconds: float
    prompt_tokens: int
    new_tokens: int
    usd: float
