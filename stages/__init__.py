"""The pipeline. What every process of it needs in its environment is set here, before any library is imported."""

import os

ENVIRONMENT = {
    # No request that the user did not ask for: trl and huggingface_hub report to the hub otherwise.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Threads that wait for each other give up the processor soon: by default they spin, which starves another process.
    "GOMP_SPINCOUNT": "10000",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
