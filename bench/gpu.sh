#!/usr/bin/env bash
# Runs the default task on a CUDA GPU in bf16, with the kernels and the 8-bit AdamW of bitsandbytes. Prints memory and time, and
# compares the scores with the committed run on a CPU. Needs a build of torch with CUDA (`make repro` without TORCH_INDEX).
#   bench/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "error: torch finds no CUDA device; run this script on a machine with one")'
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
