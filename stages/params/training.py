"""Sections for adapting the model: formatting, replay, quantization, adapters and training."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stages.params.base import Count, Fraction, Name, Positive, Section, Text


class Format(Section):
    authored: bool
    max_length: Positive
    overlong: Literal["drop", "truncate", "fail"]
    overlap_ngram: Positive | None
    max_lost: Fraction
    shots: Count


class Replay(Section):
    """Measures against forgetting: the base's own answers as a share of all training rows, and the λ of EWC."""

    path: Text
    max_new_tokens: Positive
    fraction: Annotated[float, Field(ge=0, lt=1)]
    ewc_lambda: Annotated[float, Field(ge=0)]


class Quantization(Section):
    """Quantization of the frozen base in training; nf4 with double quantization is QLoRA (Dettmers et al. 2023,
    arXiv:2305.14314). `double_quant` applies to the 4-bit types only.
    """

    type: Literal["nf4", "fp4", "int8", "none"]
    double_quant: bool


Dropout = Annotated[float, Field(ge=0, lt=1)]
Modules = Literal["all-linear"] | list[str]


class Weights(Section):
    """`full` trains every weight, `lora` an adapter by the section lora."""

    type: Literal["full", "lora"]


class Selective(Section):
    """Train the base's own weights whose names match one of the patterns `trainable`."""

    type: Literal["selective"]
    trainable: Annotated[list[str], Field(min_length=1)]


class AdaLora(Section):
    """Ranks that move to where they matter (Zhang et al. 2023, arXiv:2303.10512), from init_r to target_r on average.

    The ranks fall between the shares `tinit` and 1 - `tfinal` of the run, every `delta_t` steps.
    """

    type: Literal["adalora"]
    init_r: Positive
    target_r: Positive
    alpha: Positive
    dropout: Dropout
    target_modules: Modules
    tinit: Fraction
    tfinal: Fraction
    delta_t: Positive
    orth_reg_weight: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _budget_falls(self) -> Self:
        if self.target_r >= self.init_r:
            raise ValueError(f"target_r = {self.target_r} is not below init_r = {self.init_r}; ranks only fall")
        if self.tinit + self.tfinal >= 1:
            raise ValueError("tinit + tfinal leave no step in which ranks can fall; their sum must be below 1")
        return self


class Ia3(Section):
    """IA³ (Liu et al. 2022, arXiv:2205.05638): a factor for each key, value and inner activation; null: the paper's modules."""

    type: Literal["ia3"]
    target_modules: list[str] | None
    feedforward_modules: list[str] | None


class PromptTuning(Section):
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691)."""

    type: Literal["prompt_tuning"]
    num_virtual_tokens: Positive


class PrefixTuning(Section):
    """Prefix tuning (Li & Liang 2021, arXiv:2101.00190); without projection P-tuning v2 (Liu et al. 2021, arXiv:2110.07602)."""

    type: Literal["prefix_tuning"]
    num_virtual_tokens: Positive
    prefix_projection: bool
    encoder_hidden_size: Positive


class PTuning(Section):
    """P-tuning (Liu et al. 2021, arXiv:2103.10385) with an MLP as prompt encoder."""

    type: Literal["p_tuning"]
    num_virtual_tokens: Positive
    encoder_hidden_size: Positive


class LlamaPro(Section):
    """LLaMA Pro (Wu et al. 2024, arXiv:2401.02415): `blocks` blocks are added, and only they are trained."""

    type: Literal["llama_pro"]
    blocks: Positive


Adapter = Annotated[
    Weights | Selective | AdaLora | Ia3 | PromptTuning | PrefixTuning | PTuning | LlamaPro,
    Field(discriminator="type"),
]
NOTHING = Path("adapters/none")  # as train.start_from and align.reward_model: no folder, where DVC needs one that exists
WHOLE = ("full", "selective", "llama_pro")  # change the base's own weights or blocks, so the whole model is stored
PROMPTS = ("prompt_tuning", "prefix_tuning", "p_tuning")


class Lora(Section):
    """LoRA (Hu et al. 2021, arXiv:2106.09685); `target_modules` is all-linear or a list of names.

    DoRA is arXiv:2402.09353, rsLoRA arXiv:2312.03732; `init`: PiSSA arXiv:2404.02948, LoftQ arXiv:2310.08659.
    """

    r: Positive
    alpha: Positive
    dropout: Dropout
    bias: Literal["none", "all", "lora_only"]
    target_modules: Modules
    use_rslora: bool
    use_dora: bool
    init: Literal["default", "loftq", "pissa"]


class Optimization(Section):
    """How weights are fitted, named as in transformers.TrainingArguments.

    `batch_size` is global, and runtime.micro_batch_size splits it.
    """

    section: ClassVar[str]  # of params.yaml, for messages
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    num_train_epochs: Annotated[float, Field(gt=0)]
    max_steps: Positive | None
    batch_size: Positive
    warmup_steps: Count
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    optim: Literal["adamw_torch", "adamw_8bit", "adafactor", "sgd"]
    precision: Literal["bf16", "fp16", "fp32"]
    gradient_checkpointing: bool
    attn_implementation: Literal["auto", "eager", "sdpa"]
    logging_steps: Positive
    save_steps: Positive
    report_to: Name


class Fit(Optimization):
    """How rows are fitted by their cross-entropy, in `pretrain` and in `train`.

    `prompt_loss_weight` weighs the tokens of the prompt in the loss (Huerta-Enochian & Ko 2024, arXiv:2401.13586);
    `neftune_noise_alpha` is that of Jain et al. 2023 (arXiv:2310.05914).
    """

    prompt_loss_weight: Fraction
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None
    group_by_length: bool
    packing: bool
    eval_steps: Positive
    eval_rows: Positive
    early_stopping_patience: Positive | None


class Train(Fit):
    """Supervised fine-tuning on the formatted chats, starting from the adapter or model in `start_from`.

    DVC needs a folder that exists, so adapters/none means what null means elsewhere.
    """

    section: ClassVar[str] = "train"
    start_from: Text

    @property
    def start(self) -> Path | None:
        """Return the folder to start from; None if `start_from` names none."""
        return None if Path(self.start_from) == NOTHING else Path(self.start_from)
