#!/usr/bin/env bash
# The default task on a CUDA GPU, by bitsandbytes' kernels in bf16 with its 8-bit AdamW: prints memory and time, and compares the scores
# with those of the committed run on a CPU. The environment needs a torch with CUDA (`make repro` without PIP_FLAGS).
#   bench/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "error: torch finds no CUDA device here; this script needs one")'
dvc exp run -S runtime=cuda -S train.optim=adamw_8bit
python - <<'PYTHON'
import json
from pathlib import Path

cost = json.loads(Path("reports/complaints/cost.json").read_text())
print(cost["machine"]["device_name"])
for stage, figures in cost.items():
    if isinstance(figures, dict) and "seconds" in figures:
        print(stage, {name: value for name, value in figures.items() if "second" in name or "memory" in name})
PYTHON
tunetrail compare --base HEAD
