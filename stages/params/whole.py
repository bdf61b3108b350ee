"""The whole of params.yaml, and the combinations of values that are refused."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params import aligning, engine, headline
from stages.params.after import Align, Preference, Pretrain
from stages.params.base import Name, Section, Seed
from stages.params.engine import Engine
from stages.params.feedback import Feedback
from stages.params.models import Model
from stages.params.results import Evaluate, Predict, Report, Retention, Runtime
from stages.params.rows import RowsData
from stages.params.sources import Data
from stages.params.synthesis import Synthesis, Teacher
from stages.params.training import NOTHING, PROMPTS, WHOLE, Adapter, Fit, Format, Lora, Quantization, Replay, Train

VOTERS = 3  # the fewest of which most can agree


class Params(Section):
    schema_: Annotated[Literal["valid"], Field(alias="schema")]
    name: Name
    seed: Seed
    seeds: Annotated[list[Seed], Field(min_length=1)]
    model: Model
    data: Data
    teacher: Teacher
    synthesis: Synthesis
    feedback: Feedback
    format: Format
    replay: Replay
    quantization: Quantization
    adapter: Adapter
    lora: Lora
    pretrain: Pretrain
    train: Train
    preference: Preference
    align: Align
    engine: Engine
    predict: Predict
    retention: Retention
    evaluate: Evaluate
    report: Report
    runtime: Runtime

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        mistakes = [*self._adaptation(), *self._pretraining(), *(line for fit in self.fits for line in self._fit(fit))]
        mistakes += aligning.mistakes(self, self._extracts())
        if len(set(self.seeds)) < len(self.seeds):
            mistakes.append("seeds must not repeat")
        if self.evaluate.vote and len(self.seeds) + len(self.predict.kept) < VOTERS:
            mistakes.append(
                f"evaluate.vote needs at least {VOTERS} models, so that most can agree; set e.g. seeds=[42,43,44], or "
                "name kept adapters in predict.kept"
            )
        if max(self.predict.shots) > self.format.shots:
            mistakes.append(f"predict.shots needs {max(self.predict.shots)}, but format.shots keeps {self.format.shots}")
        if len(set(self.predict.shots)) < len(self.predict.shots):
            mistakes.append("predict.shots must not repeat")
        if len(set(self.predict.kept)) < len(self.predict.kept):
            mistakes.append("predict.kept must not repeat")
        if NOTHING.name in self.predict.kept:
            mistakes.append(f"predict.kept: {NOTHING} is an empty start and answers nothing; leave it out")
        complaints = "self_instruct" in self.synthesis.methods and self.synthesis.self_instruct.form == "complaints"
        if self.data.kind != "complaints" and complaints:
            general = "none or synthesis=self_instruct_general"
            instead = {"rows": general, "mix": general, "documents": "self_qa", "graph": "self_kg"}
            mistakes.append(
                "synthesis.methods: self_instruct in the form complaints writes complaint bodies; with "
                f"data.kind = {self.data.kind} use synthesis={instead[self.data.kind]}"
            )
        if self.data.kind != "documents" and "self_qa" in self.synthesis.methods:
            mistakes.append(f"synthesis.methods: self_qa needs documents; data.kind = {self.data.kind} has none")
        if self.data.kind != "graph" and "self_kg" in self.synthesis.methods:
            mistakes.append(f"synthesis.methods: self_kg needs a graph of facts; data.kind = {self.data.kind} has none")
        if self.synthesis.budget.max_usd and not self._costs_money():
            mistakes.append(
                f"synthesis.budget.max_usd with teacher.kind = {self.teacher.kind}: its price is 0, so it would never run "
                "out; set teacher.price or synthesis.budget.max_tokens"
            )
        if self.data.kind == "rows":
            mistakes += self._empty_splits(self.data)
        mistakes += headline.mistakes(self) + self._pairs() + self._feedback() + engine.mistakes(self)
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _extracts(self) -> bool:
        """Return whether the answers of some rows are JSON objects."""
        if self.data.kind == "mix":
            return any(part.task == "extraction" for part in self.data.sets.values())
        return self.data.kind == "complaints" or (self.data.kind == "rows" and self.data.task == "extraction")

    def _empty_splits(self, data: RowsData) -> list[str]:
        """Return a line for each split that is needed and gets no row."""
        split, mistakes = self.predict.split, []
        empty = [name for name in ("valid", "test") if not getattr(data, name) and not dict(data.splits or ()).get(name)]
        if split in empty:
            mistakes.append(f"predict.split = {split}: data.{split} is 0, so it has no rows; raise it or choose another split")
        if max(self.predict.shots) and "valid" in empty:
            mistakes.append(
                "predict.shots: examples are validation rows, but data.valid is 0; raise it or set predict.shots to [0]"
            )
        return mistakes

    def _pairs(self) -> list[str]:
        """Return a line if the judge of pairs cannot answer."""
        if "judge" not in self.preference.sources or self.teacher.kind != "replay":
            return []
        return [
            "preference.sources: judge with teacher.kind = replay: a recording holds no verdicts on new samples; use "
            "teacher=local or teacher=openai, or leave judge out"
        ]

    def _feedback(self) -> list[str]:
        """Return a line where feedback is asked for and there is none, or where no one task answers to it."""
        if self.feedback.wanted:
            return [
                "feedback.path with data.kind = mix: a correction does not tell which data set it belongs to; use one data set"
            ] * (self.data.kind == "mix")
        return [
            "preference.sources: feedback needs feedback.path, a file of votes and corrections; name it or leave feedback out"
        ] * ("feedback" in self.preference.sources)

    def _costs_money(self) -> bool:
        price = getattr(self.teacher, "price", None)
        return bool(price and (price.usd_per_million_input or price.usd_per_million_output))

    def _adaptation(self) -> list[str]:
        """Return the refused combinations of adapter, quantization, lora, train and replay, each with its reason."""
        train, kind, bits = self.train, self.adapter.type, self.quantization.type
        init = self.lora.init if kind == "lora" else "default"
        dora = kind == "lora" and self.lora.use_dora
        forms = {"use_dora": self.lora.use_dora, "use_rslora": self.lora.use_rslora, "init": self.lora.init != "default"}
        unread = [f"lora.{form}" for form, chosen in forms.items() if chosen and kind != "lora"]
        checks = [
            (
                bool(unread),
                f"{', '.join(unread)} with adapter.type = {kind}: only adapter=lora reads the section lora; set the default",
            ),
            (
                bits != "none" and kind in WHOLE,
                f"quantization.type = {bits} with adapter.type = {kind}: quantized weights cannot be trained; "
                "use adapter=lora or quantization=none",
            ),
            (
                kind == "llama_pro" and train.start,
                "train.start_from with adapter.type = llama_pro: blocks would be added again; name that model in model=path",
            ),
            (
                Path(train.start_from).resolve().is_relative_to(Path("models").resolve()),
                f"train.start_from = {train.start_from}: DVC deletes the content of models/ before training; store a copy with "
                "`tunetrail keep NAME`, and name adapters/NAME",
            ),
            (
                train.start and (kind in (*PROMPTS, "adalora") or init != "default"),
                f"train.start_from with adapter.type = {kind} and lora.init = {init}: training can continue only from ia3, "
                "whole models, and lora with lora.init=default",
            ),
            (
                init == "pissa" and bits != "none",
                f"lora.init = pissa with quantization.type = {bits}: it subtracts weights from the base, which must not be "
                "quantized before; use quantization=none",
            ),
            (
                init == "loftq" and bits not in ("nf4", "fp4"),
                f"lora.init = loftq with quantization.type = {bits}: it compensates for 4-bit rounding; use quantization=nf4",
            ),
            (
                dora and init != "default",
                f"lora.use_dora with lora.init = {init}: DoRA starts from the plain base; use lora.init=default",
            ),
            (
                dora and bits == "int8",
                "lora.use_dora with quantization.type = int8: DoRA needs the norms of the base's rows, which cannot be "
                "recovered from bitsandbytes' 8 bits on a CPU; use quantization=nf4",
            ),
            (
                kind == "prefix_tuning" and train.gradient_checkpointing,
                "train.gradient_checkpointing with adapter.type = prefix_tuning: the prefix is in the cache of keys and "
                "values, which checkpointing switches off; set it to false",
            ),
            (
                kind in PROMPTS and train.packing,
                f"train.packing with adapter.type = {kind}: only the first packed row would have the prompt; set it to false",
            ),
            (
                train.early_stopping_patience and kind == "adalora",
                "train.early_stopping_patience with adapter.type = adalora: ranks are final at the planned end only; "
                "set it to null",
            ),
            (
                self.replay.ewc_lambda and (kind not in ("full", "selective", "lora") or dora or init != "default"),
                f"replay.ewc_lambda with adapter.type = {kind}: the penalty needs an update of weights that starts "
                "at zero; use full, selective, or lora with lora.init=default and without DoRA",
            ),
            (
                self.replay.ewc_lambda and kind == "lora" and self.lora.bias != "none",
                f"replay.ewc_lambda with lora.bias = {self.lora.bias}: the penalty does not cover biases; use lora.bias=none",
            ),
            (
                self.replay.ewc_lambda and train.precision == "fp16",
                "replay.ewc_lambda with train.precision = fp16: the squares of small gradients would be 0; use bf16",
            ),
            (
                self.data.kind == "mix" and self.data.mix.protect and not self.replay.ewc_lambda,
                "data.mix.protect with replay.ewc_lambda = 0: only EWC protects rows; set replay.ewc_lambda, e.g. to 1, or "
                "data.mix.protect to null",
            ),
        ]
        return [reason for refused, reason in checks if refused]

    @property
    def fits(self) -> list[Fit]:
        """Return the options of every fit that is asked for, in the order in which they run."""
        return [self.train] if self.pretrain.type == "none" else [self.pretrain, self.train]

    def _fit(self, fit: Fit) -> list[str]:
        """Return the refused combinations of options of a fit, each with its reason."""
        name, runtime = fit.section, self.runtime
        rows = runtime.processes * runtime.rows(fit.batch_size // runtime.processes)
        several = f" x runtime.processes = {runtime.processes}" if runtime.processes > 1 else ""
        checks = [
            (
                not rows or fit.batch_size % rows,
                f"{name}.batch_size = {fit.batch_size} is not a multiple of runtime.micro_batch_size = "
                f"{runtime.micro_batch_size}{several}",
            ),
            (
                runtime.launcher == "deepspeed" and self.adapter.type == "adalora",
                "runtime.launcher = deepspeed with adapter.type = adalora: it needs all gradients in each process; use "
                "launcher=ddp",
            ),
            (
                fit.precision == "fp16" and (runtime.launcher == "deepspeed" or self.adapter.type == "adalora"),
                f"{name}.precision = fp16 with adapter.type = {self.adapter.type} and runtime.launcher = {runtime.launcher}: "
                "adalora and deepspeed would read gradients before they are scaled back; use bf16",
            ),
            (
                fit.lr_scheduler_type == "constant" and fit.warmup_steps,
                f"{name}.lr_scheduler_type = constant with {name}.warmup_steps = {fit.warmup_steps}: it has no warm-up; use "
                f"constant_with_warmup or {name}.warmup_steps=0",
            ),
            (
                fit.packing and fit.group_by_length,
                f"{name}.packing with {name}.group_by_length: packed rows have one length; switch one of them off",
            ),
            (
                fit.early_stopping_patience and fit.save_steps != fit.eval_steps,
                f"{name}.early_stopping_patience with {name}.save_steps = {fit.save_steps} and {name}.eval_steps = "
                f"{fit.eval_steps}: the best checkpoint must be stored; make them equal",
            ),
        ]
        return [reason for refused, reason in checks if refused]

    def _pretraining(self) -> list[str]:
        """Return what cannot be trained on documents, or continued by `train`, each with its reason."""
        if self.pretrain.type == "none":
            return []
        kind, init = self.adapter.type, self.lora.init if self.adapter.type == "lora" else "default"
        wanted = "pretrain.type = documents"
        checks = [
            (
                self.data.kind != "documents",
                f"{wanted}: data.kind = {self.data.kind} has no documents; choose data that has some, or pretrain=none",
            ),
            (
                self.model.source == "random" and self.model.architecture == "t5",
                f"{wanted} with model.architecture = t5: an encoder-decoder model needs spans to fill in, not whole texts; use "
                "pretrain=none",
            ),
            (
                kind in (*PROMPTS, "adalora", "llama_pro") or init != "default",
                f"{wanted} with adapter.type = {kind} and lora.init = {init}: training can continue only from ia3, full, "
                "selective, and lora with lora.init=default",
            ),
            (
                self.train.start,
                f"{wanted} with train.start_from = {self.train.start_from}: training starts from one of them; set "
                f"train.start_from={NOTHING} or pretrain=none",
            ),
            (self.pretrain.prompt_loss_weight, "pretrain.prompt_loss_weight: documents have no prompt; set it to 0"),
        ]
        return [reason for refused, reason in checks if refused]

    def advice(self) -> list[str]:
        """Return one line for each value outside the usually advised range; such values are allowed."""
        advice, train, kind = [], self.train, self.adapter.type
        low, high = {"lora": (1e-4, 5e-4), "adalora": (1e-4, 5e-4)}.get(kind, (3e-5, 5e-5))
        for fit in self.fits:
            if kind in ("lora", "adalora", *WHOLE) and not low <= fit.learning_rate <= high:
                advice.append(
                    f"{fit.section}.learning_rate = {fit.learning_rate:g}: the range usually advised for adapter.type = {kind} "
                    f"is {low:g} to {high:g} (for models of a billion parameters; smaller ones often need more)"
                )
        if self.predict.constrain == "none" and self._extracts():
            advice.append(
                "predict.constrain = none: the untuned model is compared in free text; with json all systems can only write "
                "objects with the fields, as `tunetrail predict` does, which is a stronger baseline"
            )
        if not train.max_steps and not 3 <= train.num_train_epochs <= 10:
            advice.append(
                f"train.num_train_epochs = {train.num_train_epochs:g}: the range usually advised is 3 to 10 (fewer learn the "
                "rows incompletely, more memorise them; varied rows need fewer epochs)"
            )
        return advice + engine.advice(self)
