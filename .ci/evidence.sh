#!/usr/bin/env bash
# Repeats the stored runs (reports/*/dvc.lock) that are out of date, then checks them. Takes hours on a CPU.
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
    git add "reports/$name" && git commit --quiet -m "Repeat the stored run $name" # sync.sh checks the last commit
    bash .ci/sync.sh "$name"
done
