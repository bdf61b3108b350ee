"""predict_served: let a server answer the chosen split as one system, e.g. `base_3shot` or `tuned_42`.

It has a room of its own, so that a change here does not run the predictions of transformers again.
"""

import sys
import time
from pathlib import Path

from stages import figures, files, params, records, stage, systems
from stages.figures.answers import Agreement
from stages.figures.engine import ServedCost
from stages.params import OpenAIEngine
from stages.records import Example, content_hash
from stages.text.prompts import shots_by_dataset

FORMATTED, PREDICTIONS, AGREEMENT, COST = map(Path, ("data/formatted", "data/predictions", "data/agreement", "data/cost"))
LOW = 0.9  # a share of tokens below which the server probably has another model


def main() -> None:
    system, started = sys.argv[1], time.monotonic()
    from stages import provenance
    from stages.models.manifest import MANIFEST
    from stages.models.stored import adapter_of
    from stages.served import rows
    from stages.served.server import Server

    connection, runtime = params.server(), params.runtime()
    p = params.read("engine.models", "engine.agreement_rows", "predict.split", "predict.max_new_tokens")
    assert isinstance(p.engine, OpenAIEngine)
    examples = list(records.read(FORMATTED / f"{p.predict.split}.jsonl", Example))
    shots = shots_by_dataset(system, examples)
    asks = rows.requests(examples, shots, p.predict.max_new_tokens)
    folders = [adapter_of(system)] if systems.is_tuned(system) else []
    weights = [MANIFEST, *(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())]
    hashed = content_hash({str(path): files.file_hash(path) for path in weights})
    server = Server(connection, p.engine.models.name(system), hashed, runtime)

    calls, teacher = rows.answer(server, asks)
    predictions = rows.predictions(system, examples, calls)
    records.write(PREDICTIONS / f"{system}.jsonl", predictions)
    seconds = time.monotonic() - started
    agreed = Agreement(rows=0, token_agreement=None, row_agreement=None, quantization="none")
    if p.engine.agreement_rows:
        from stages.models.tuned import open_system
        from stages.predict.answers import agreement

        compared = rows.shown(examples[: p.engine.agreement_rows], shots)
        agreed = agreement(open_system(runtime, system), compared, predictions, "none")
    figures.write(AGREEMENT / f"{system}.json", agreed)
    new = sum(prediction.new_tokens for prediction in predictions)
    cost = ServedCost(
        seconds=round(seconds, 1),
        rows=len(predictions),
        prompt_tokens=sum(prediction.prompt_tokens for prediction in predictions),
        new_tokens=new,
        new_tokens_per_second=round(new / seconds, 1),
        machine=provenance.machine(runtime),
        engine=server.engine,
        asked=teacher.asked,
        retries=teacher.retries,
    )
    figures.write(COST / f"predict_{system}.json", cost)
    print(f"{system}: {cost.rows} answers of {server.engine.name} in {cost.seconds} s, {cost.new_tokens_per_second} tokens/s")
    if agreed.token_agreement is not None:
        shares = f"{agreed.token_agreement:.1%} of the tokens, {agreed.row_agreement:.1%} of {agreed.rows} rows whole"
        print(f"{system}: transformers would choose {shares}")
        if agreed.token_agreement < LOW:
            model = f"engine.models: {server.engine.model}"
            print(f"warning: {model} may be another model than {system}; load this adapter or export again", file=sys.stderr)


if __name__ == "__main__":
    stage.run(main)
