#!/usr/bin/env bash
# sync.sh [NAME]: checks that the committed conf/, params.yaml, dvc.lock and code agree. Works in a clean clone and needs no data.
# With NAME it checks the stored run in reports/NAME/ instead of the default run, and does not check conf/.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone/tunetrail"
cd "$clone/tunetrail"
if [ -n "${1:-}" ]; then cp "reports/$1/params.yaml" "reports/$1/dvc.lock" .; else tunetrail compose --check; fi
status=0
printed=$(dvc repro --dry --allow-missing 2>&1) || status=$?
if [ "$status" != 0 ] || grep -q "Running stage" <<<"$printed"; then
    echo "$printed" >&2
    echo "${1:-default run}: dvc.lock is older than params.yaml, the code or the data; run it again and commit the changes" >&2
    exit 1
fi
echo "${1:-default run}: conf/, params.yaml, dvc.lock and the code agree"
