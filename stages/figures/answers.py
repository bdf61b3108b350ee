"""What predictions cost, and how far a quantized model agrees with them."""

from stages.figures import Figures
from stages.figures.cost import Machine


class Agreement(Figures):
    """Shares of tokens and rows of the given answers that the quantized model would choose too; None without any answer."""

    rows: int
    token_agreement: float | None
    row_agreement: float | None
    quantization: str


class PredictionCost(Figures):
    seconds: float
    rows: int
    prompt_tokens: int
    new_tokens: int
    new_tokens_per_second: float
    memory_peak_gib: float | None = None
    machine: Machine
