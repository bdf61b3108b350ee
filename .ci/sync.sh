#!/usr/bin/env bash
# conf/, params.yaml, dvc.lock and the code belong together. Needs no data: what dvc would run again was not committed.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
tunetrail compose --check
status=0
said=$(dvc repro --dry --allow-missing 2>&1) || status=$?
if [ "$status" != 0 ] || grep -q "Running stage" <<<"$said"; then
    echo "$said" >&2
    echo "dvc.lock is older than params.yaml, the code or the data; run dvc repro and commit what it writes" >&2
    exit 1
fi
echo "conf/, params.yaml and dvc.lock agree"
