"""Print the table of bench/vllm.sh: answers and texts of vLLM next to those of transformers in the pipeline's process.

    python bench/vllm_table.py

Reads the figures of both sides from .tunetrail/vllm/. Speeds count the answers that were requested in this run only.
"""

from pathlib import Path

from stages import figures, files, params
from stages.figures.answers import Agreement, PredictionCost
from stages.figures.engine import ServedCost
from stages.figures.synthesis import Funnel, SynthesisCost

KEPT = Path(".tunetrail/vllm")
SYSTEMS = {"base_0shot": "base_0shot", "tuned_42": "tuned"}  # and their names in metrics.json


def main() -> None:
    print(table(KEPT / "transformers", KEPT / "vllm", params.read("report.headline").report.headline))


def table(here: Path, there: Path, headline: str) -> str:
    """Return a Markdown table of the figures in two folders: those of transformers, and those of the engine."""
    lines: list[tuple[str, object, object]] = []
    engines = set()
    for system, name in SYSTEMS.items():
        ours = figures.read(here / f"predict_{system}.json", PredictionCost)
        served = figures.read(there / f"predict_{system}.json", ServedCost)
        assert served.asked == served.rows, f"{system}: {served.rows - served.asked} answers were stored before"
        engines.add(served.engine.name)
        agreed = figures.read(there / f"{system}.json", Agreement)
        scores = [f"{100 * files.read_json(side / 'metrics.json')[name][headline]:.1f}" for side in (here, there)]
        lines += [
            (f"{system}: tokens per second", ours.new_tokens_per_second, served.new_tokens_per_second),
            (f"{system}: {headline}, %", *scores),
            (f"{system}: tokens that transformers would choose, %", "", _percent(agreed.token_agreement)),
            (f"{system}: rows in which it would choose all, % of {agreed.rows}", "", _percent(agreed.row_agreement)),
        ]
    made = [figures.read(side / "funnel.json", Funnel) for side in (here, there)]
    costs = [figures.read(side / "synthesize_self_instruct.json", SynthesisCost) for side in (here, there)]
    for cost in costs:
        assert cost.asked == cost.calls, f"synthesis: {cost.calls - cost.asked} answers were stored before"
    kept = [next(step.count for step in funnel.stages if step.stage == "kept") for funnel in made]
    lines += [
        ("synthesis: calls", *(cost.calls for cost in costs)),
        ("synthesis: texts kept", *kept),
        ("synthesis: seconds", *(cost.seconds for cost in costs)),
        ("synthesis: tokens per second", *(f"{cost.new_tokens / cost.seconds:.1f}" for cost in costs)),
    ]
    (engine,) = engines
    rows = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    return f"| | transformers | {engine} |\n|---|---|---|\n{rows}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
