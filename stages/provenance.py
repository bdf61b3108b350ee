"""Record what depends on the machine: device and versions. It is stored in data/cost/, never in a result."""

import os
import platform
from importlib.metadata import version

from stages import device
from stages.figures.cost import Machine
from stages.fingerprint import LIBRARIES
from stages.params import Runtime


def machine(runtime: Runtime) -> Machine:
    """Return device, threads and library versions of this process."""
    used = device.computed(device.kind(runtime), "bf16")
    return Machine(
        device=device.kind(runtime),
        device_name=device.name(runtime),
        threads=runtime.threads,
        cores=os.cpu_count(),
        python=platform.python_version(),
        computes_in=None if used == "bf16" else used,
        platform=f"{platform.system()} {platform.machine()}",
        versions={name: version(name) for name in LIBRARIES},
    )
