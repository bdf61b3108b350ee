"""Choose the method of an alignment."""

from stages.align.job import Job
from stages.align.run import Aligned
from stages.errors import DataError


def align(job: Job) -> Aligned:
    """Return the aligned model."""
    match job.options.method:
        case "dpo":
            from stages.align import dpo

            return dpo.align(job)
        case "kto":
            from stages.align import kto

            return kto.align(job)
        case "reward":
            from stages.align import reward

            return reward.align(job)
        case "grpo":
            from stages.align import grpo

            return grpo.align(job)
        case method:
            raise DataError(f"align.method = {method}: has no code in stages/align; use dpo, kto, reward or grpo")
