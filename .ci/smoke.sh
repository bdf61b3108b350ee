#!/usr/bin/env bash
# Runs every stage on a tiny random model, in a temporary clone: the checkout keeps its params.yaml and dvc.lock.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone"
cd "$clone"
dvc exp run -S experiment=smoke -S preference=verifier -S align=dpo
tunetrail summary
