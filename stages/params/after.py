"""Sections for what surrounds supervised fine-tuning: pre-training before it, preferences and alignment after it."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stages.params.base import Fraction, Positive, Section, Text
from stages.params.synthesis import Sampling
from stages.params.training import Fit, Optimization

Weight = Annotated[float, Field(ge=0)]


class NoPretraining(Section):
    """No training before `train`."""

    type: Literal["none"]


class DocumentPretraining(Fit):
    """Continued pre-training on whole documents (Gururangan et al. 2020, arXiv:2004.10964); `train` continues from it."""

    section: ClassVar[str] = "pretrain"
    type: Literal["documents"]


Pretrain = Annotated[NoPretraining | DocumentPretraining, Field(discriminator="type")]


class Judging(Section):
    """How the teacher compares two samples: the prompts it sees, and the longest verdict."""

    prompts: Positive
    max_new_tokens: Positive


class Preference(Section):
    """Where pairs of a better and a worse answer come from; only the stage `pairs` reads it.

    `verifier` scores samples of the tuned model by the metric of the task, `judge` lets the teacher compare two of them,
    `people` reads rating sheets, `file` reads pairs that already exist, and `feedback` takes votes and corrections of users.
    """

    sources: Annotated[list[Literal["none", "verifier", "judge", "people", "file", "feedback"]], Field(min_length=1)]
    prompts: Positive
    samples: Annotated[int, Field(ge=1)]
    sampling: Sampling
    batch_size: Positive
    margin: Annotated[float, Field(gt=0, le=1)]
    reference: Fraction
    held_out: Annotated[float, Field(ge=0, lt=1)]
    judge: Judging
    sheets: Text
    file: Text

    @model_validator(mode="after")
    def _can_make_pairs(self) -> Self:
        mistakes = []
        if len(set(self.sources)) < len(self.sources):
            mistakes.append("sources must not repeat")
        if "none" in self.sources and len(self.sources) > 1:
            mistakes.append("sources: none stands alone; leave it out where others are named")
        sampled = {"verifier", "judge"} & set(self.sources)
        if sampled and self.samples < 2:
            mistakes.append(f"samples = {self.samples}: a pair needs two answers to a prompt; use 2 or more")
        if sampled and not self.sampling.temperature:
            mistakes.append("sampling.temperature = 0: all samples of a prompt would be equal; raise it, e.g. to 1.0")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    @property
    def wanted(self) -> bool:
        return self.sources != ["none"]

    @property
    def sampled(self) -> int:
        """How many of the drawn prompts are sampled; the judge compares the first ones, with the verifier or alone."""
        if "verifier" in self.sources:
            return self.prompts
        return min(self.prompts, self.judge.prompts) if "judge" in self.sources else 0


class NoAlignment(Section):
    """The tuned model stays as it is."""

    method: Literal["none"]
    reward_model: Text


class Alignment(Optimization):
    """What all methods share: `eval_steps` updates between two looks at rows that are not trained on.

    With `early_stopping_patience` the adapter of the best look is kept. Only grpo reads `reward_model`; DVC needs the key.
    """

    section: ClassVar[str] = "align"
    precision: Literal["bf16", "fp32"]
    reward_model: Text
    eval_steps: Positive
    early_stopping_patience: Positive | None

    @model_validator(mode="after")
    def _logs_before_saving(self) -> Self:
        if self.save_steps % self.logging_steps:
            raise ValueError(
                f"save_steps = {self.save_steps} is not a multiple of logging_steps = {self.logging_steps}: TRL would lose the "
                "numbers since the last log in a run that is resumed"
            )
        return self


class Answering(Alignment):
    """What the methods share whose model answers: at each look it answers `eval_rows` validation rows."""

    eval_rows: Positive


class Dpo(Answering):
    """Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290).

    `loss_type` are TRL's names, each with its weight; `sft` is the log-likelihood of the chosen answers. Each of the `rounds`
    after the first samples again with the current adapter (semi-online; Lanchantin et al. 2025, arXiv:2506.21495).
    """

    method: Literal["dpo"]
    beta: Annotated[float, Field(gt=0)]
    loss_type: Annotated[list[Literal["sigmoid", "hinge", "ipo", "sigmoid_norm", "sft"]], Field(min_length=1)]
    loss_weights: list[Weight]
    rounds: Positive

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if len(self.loss_type) != len(self.loss_weights):
            raise ValueError(f"loss_weights needs one weight for each of loss_type = {self.loss_type}")
        if twice := [name for name in self.loss_type if self.loss_type.count(name) > 1]:
            raise ValueError(f"loss_type names {twice[0]} twice; name it once, with the sum of its weights")
        weighed = zip(self.loss_type, self.loss_weights, strict=True)
        if not any(weight for name, weight in weighed if name != "sft"):
            raise ValueError(f"loss_type = {self.loss_type} with these weights compares no answers; weigh sigmoid or another")
        return self


class Kto(Answering):
    """Kahneman-Tversky optimization from single votes (Ethayarajh et al. 2024, arXiv:2402.01306)."""

    method: Literal["kto"]
    beta: Annotated[float, Field(gt=0)]
    desirable_weight: Weight
    undesirable_weight: Weight


class RewardModel(Alignment):
    """A reward model by the Bradley-Terry loss, as in RLHF (Ouyang et al. 2022, arXiv:2203.02155).

    Held-out pairs measure it; it answers nothing.
    """

    method: Literal["reward"]
    center_rewards_coefficient: Weight


class Rewards(Section):
    """The weight of each reward; 0 leaves it out."""

    task: Weight
    json_valid: Weight
    length: Weight
    reward_model: Weight


class Grpo(Answering):
    """Group relative policy optimization (Shao et al. 2024, arXiv:2402.03300); `beta` weighs the KL to the tuned model."""

    method: Literal["grpo"]
    beta: Weight
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo"]
    num_generations: Annotated[int, Field(ge=2)]
    temperature: Annotated[float, Field(gt=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_completion_length: Positive
    prompts: Positive
    rewards: Rewards

    @model_validator(mode="after")
    def _groups_fill_batches(self) -> Self:
        if self.batch_size % self.num_generations:
            raise ValueError(
                f"batch_size = {self.batch_size} is not a multiple of num_generations = {self.num_generations}; a batch holds "
                "whole groups of answers"
            )
        return self


Align = Annotated[NoAlignment | Dpo | Kto | RewardModel | Grpo, Field(discriminator="method")]
