"""Start a stage in several processes on this machine with torch's elastic launcher; group.py connects them."""

import logging
import os
import signal
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from stages import device
from stages.errors import DataError
from stages.models.manifest import read_manifest
from stages.models.sources import ensure
from stages.params import Runtime
from stages.training import group, processes

HERE = "localhost"


def start(module: str, runtime: Runtime) -> None:
    """Run the stage `module` with this process's arguments in `runtime.processes` processes, and end as they end.

    An error that all of them meet is raised once. A signal to this process ends them too, SIGKILL included (child.py).
    """
    if device.kind(runtime) == "cuda" and runtime.processes > torch.cuda.device_count():
        raise DataError(
            f"runtime.processes = {runtime.processes}: each needs a GPU, and torch sees {torch.cuda.device_count()}; lower it"
        )
    ensure(read_manifest())  # two processes that fetch the same weights would disturb each other
    logging.disable(logging.ERROR)  # the launcher reports a signal or a failure on many lines
    if runtime.launcher == "deepspeed":
        os.environ |= _deepspeed(runtime)
    os.environ[processes.PARENT] = str(os.getpid())
    os.environ["OMP_NUM_THREADS"] = str(group.threads(runtime))  # otherwise accelerate sets the number of torch's threads
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the machine's name may have no address
    with TemporaryDirectory(prefix="tunetrail") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=runtime.processes,
            run_id=f"tunetrail{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint=f"{HERE}:0",
            local_addr=HERE,
            max_restarts=0,
            signals_to_handle="SIGTERM,SIGINT",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "stages.training.child", module, *sys.argv[1:])
        except ChildFailedError as error:
            raise _cause(error.failures.values()) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + error.sigval) from None


def _deepspeed(runtime: Runtime) -> dict[str, str]:
    """Return the environment in which accelerate uses DeepSpeed's ZeRO-2, as TRL's own file describes it.

    That file's mixed precision would convert the logits, the largest tensor; the trainers here open autocast themselves.
    """
    trl = find_spec("trl")
    if not find_spec("deepspeed") or not trl or not trl.origin:
        raise DataError("runtime.launcher = deepspeed: not installed; pip install deepspeed, or use launcher=ddp")
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser, prepare_deepspeed_cmd_env

    if device.kind(runtime) == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    options = {
        "config_file": Path(trl.origin).with_name("accelerate_configs") / "zero2.yaml",
        "num_processes": runtime.processes,
        "mixed_precision": "no",
        "main_process_port": 0,
    }
    chosen = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    arguments, file, _ = _validate_launch_command(launch_command_parser().parse_args([*chosen, "stage"]))
    arguments.deepspeed_fields_from_accelerate_config = ",".join(file.deepspeed_config)  # as `accelerate launch` does
    return prepare_deepspeed_cmd_env(arguments)[1]


def _cause(failures: Collection[ProcessFailure]) -> BaseException:
    """Return why the processes ended: a mistake of the user's, a signal from outside, or a traceback.

    When one ends, the others lose their connection or are ended, and have a failure of their own.
    """
    mistakes = [failure.message for failure in failures if failure.message.startswith("error: ")]
    if mistakes:
        return SystemExit(mistakes[0])
    for failure in failures:
        if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM:
            return DataError(
                f"runtime.processes: process {failure.local_rank} was ended by {failure.signal_name()}; if memory ran out, "
                "lower runtime.micro_batch_size or runtime.processes; the next run continues from the last checkpoint"
            )
    return SystemExit(min(failures, key=lambda failure: failure.timestamp).message)
