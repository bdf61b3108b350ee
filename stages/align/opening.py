"""Open what alignment starts from: the base in the quantization of training, with train's adapter trainable in fp32."""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel

from stages.align.job import Job
from stages.errors import DataError
from stages.files import read_json, write_json
from stages.models.loading import LanguageModel, load_base, open_model
from stages.models.tuned import with_adapter
from stages.params import Alignment, Runtime
from stages.training import micro_batches


def open_tuned(job: Job) -> LanguageModel:
    """Return the tuned model, ready to train; raise DataError if it cannot be aligned."""

    def load(folder: Path, device: str) -> PreTrainedModel:
        check_adapter(job)
        base = load_base(folder, device, job.quantization, job.options.precision, job.options.attn_implementation)
        refuse_encoder_decoder(base, job)
        model = with_adapter(base, job.adapter, is_trainable=True)
        in_fp32(model)
        return model

    return open_model(job.runtime, load, job.manifest)


def check_adapter(job: Job) -> None:
    """Raise DataError unless train has stored an adapter."""
    if not (job.adapter / "adapter_config.json").is_file():
        raise DataError(
            f"align.method = {job.options.method}: {job.adapter} holds no adapter, and alignment continues from train's; use "
            "adapter=lora"
        )


def refuse_encoder_decoder(base: PreTrainedModel, job: Job) -> None:
    if base.config.is_encoder_decoder:
        raise DataError(
            f"align.method = {job.options.method}: TRL's trainers align decoders only, and this model is an encoder-decoder; "
            "use align=none or another model"
        )


def in_fp32(model: PreTrainedModel) -> None:
    """Give trained weights fp32; bf16 would round small updates away."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def with_micro_batch(
    runtime: Runtime, options: Alignment, model: PreTrainedModel, rows: Sequence[int], unfinished: Path
) -> Runtime:
    """Return the settings with a number as micro_batch_size, for rows of these lengths in tokens.

    A run that is resumed keeps the number in `unfinished`: another one would change its results, and free memory varies.
    """
    if runtime.micro_batch_size != "auto":
        return runtime
    kept = unfinished / "micro_batch_size.json"
    if not kept.is_file():
        longest = Dataset.from_dict({"input_ids": [[0] * max(rows)]})
        write_json(kept, micro_batches.resolved(runtime, options, model, longest).micro_batch_size)
    return runtime.model_copy(update={"micro_batch_size": read_json(kept)})
