"""Connect the processes that launch.py has started; a process on its own is a group of one."""

import os

import torch
from torch import distributed

from stages import device
from stages.params import Runtime
from stages.training import processes


def join(runtime: Runtime) -> None:
    """Connect this process to the others; each has its own GPU, or its share of the CPU's threads."""
    if not processes.launched() or distributed.is_initialized():
        return
    on_cpu = device.kind(runtime) == "cpu"
    if not on_cpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("gloo" if on_cpu else "nccl")


def own_device(kind: str) -> str:
    """Return where this process computes: cpu, cuda, or its own of several GPUs."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if kind == "cuda" and processes.launched() else kind


def threads(runtime: Runtime) -> int:
    """Return how many threads of the CPU each process gets."""
    return max(1, runtime.threads // runtime.processes)


def share_threads(runtime: Runtime) -> None:
    if processes.launched():
        torch.set_num_threads(threads(runtime))


def least(number: int, runtime: Runtime) -> int:
    """Return the least of the processes' numbers."""
    if not processes.launched():
        return number
    held = torch.tensor(number, device=device.kind(runtime))
    distributed.all_reduce(held, distributed.ReduceOp.MIN)
    return int(held)
