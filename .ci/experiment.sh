#!/usr/bin/env bash
# experiment.sh NAME [key=value ...]: runs an experiment of conf/experiment/ with overrides, stores its params.yaml and dvc.lock
# next to its report, and restores the workspace. If it is killed, the old files stay in .tunetrail/before/ until the next call.
# It has the clone to itself: a second call, and every command that would read the experiment's parameters, stops with a message.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
if [ ! -f "conf/experiment/$name.yaml" ]; then
    echo "error: NAME=$name: no such experiment; choose one of: $(basename -s .yaml conf/experiment/*.yaml | xargs)" >&2
    exit 2
fi
if [ "${TUNETRAIL_EXPERIMENT:-}" != $$ ]; then exec python -m stages.commands.clone "$name" bash .ci/experiment.sh "$@"; fi
before=.tunetrail/before
restore() {
    cp "$before/params.yaml" "$before/dvc.lock" .
    rm -r "$before"
    dvc checkout --quiet || true # restores the outputs; the next dvc repro makes those that the cache lacks
}
if [ -d "$before" ]; then restore; fi # an earlier run was killed
mkdir -p "$before"
cp params.yaml dvc.lock "$before/"
trap restore EXIT
tunetrail compose "experiment=$name" "${@:2}"
rm -rf data/synthetic # DVC would hash another experiment's rows together with these
dvc repro
tunetrail summary
cp params.yaml dvc.lock "reports/$name/"
