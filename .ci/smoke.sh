#!/usr/bin/env bash
# Runs every stage on a tiny random model, in a temporary clone: the checkout keeps its params.yaml and dvc.lock.
# The first run has pairs and dpo, the second one pretrain, which needs documents, and grpo, which needs no pairs.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone"
cd "$clone"
dvc exp run -S experiment=smoke -S preference=verifier -S align=dpo
tunetrail summary

own=data/own/smoke
mkdir -p "$own/documents"
for n in 1 2 3 4 5 6 7 8; do
    echo "Account $n costs \$$n per month." >"$own/documents/account$n.txt"
    row="\"answer\": \"\$$n\", \"source\": \"account$n.txt\", \"answerable\": true}"
    echo "{\"question\": \"What is the fee of account $n?\", $row" >>"$own/train.jsonl"
    echo "{\"question\": \"How much is account $n?\", $row" >>"$own/valid.jsonl"
    echo "{\"question\": \"Please name the price of account $n.\", $row" >>"$own/test.jsonl"
done
dvc exp run -S experiment=smoke -S name=smoke_documents -S data=documents -S data.path="$own" -S synthesis=none \
    -S format.shots=1 -S report.headline=token_f1 -S pretrain=documents -S pretrain.max_steps=2 \
    -S align=grpo -S align.max_steps=2 -S align.rewards.length=1.0 -S align.max_completion_length=8 -S align.eval_rows=2
tunetrail summary
