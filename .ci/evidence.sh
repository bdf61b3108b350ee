#!/usr/bin/env bash
# Makes again what is out of date among the kept runs (reports/*/dvc.lock), then checks all of them. Needs hours on a CPU.
# `evidence.sh --check` only checks.
set -euo pipefail
cd "$(dirname "$0")/.."
names=$(for lock in reports/*/dvc.lock; do basename "$(dirname "$lock")"; done)
stale=()
for name in $names; do bash .ci/sync.sh "$name" 2>/dev/null || stale+=("$name"); done
echo "out of date: ${stale[*]:-none}"
if [ "${1:-}" = --check ]; then exit $((${#stale[@]} > 0)); fi
for name in "${stale[@]}"; do
    bash .ci/experiment.sh "$name"
    git add "reports/$name" && git commit --quiet -m "Make the kept run $name again" # the gate looks at what is committed
    bash .ci/sync.sh "$name"
done
