"""The pipeline. What every process of it needs in its environment is set here, before any library is imported."""

import os

ENVIRONMENT = {
    # No request that the user did not ask for: trl reports to the hub otherwise, evaluate and datasets count each load.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "DO_NOT_TRACK": "1",
    # Threads that wait for each other give up the processor soon: by default they spin, which starves another process.
    "GOMP_SPINCOUNT": "10000",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
