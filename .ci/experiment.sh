#!/usr/bin/env bash
# Runs an experiment of conf/experiment/, with the overrides that follow its name, and keeps params.yaml and dvc.lock of its run beside
# its report; then puts the workspace back. Killed or failed, it leaves the old files in .tunetrail/before/ until they are put back.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
if [ ! -f "conf/experiment/$name.yaml" ]; then
    echo "error: NAME=$name: no such experiment; there are: $(basename -s .yaml conf/experiment/*.yaml | xargs)" >&2
    exit 2
fi
before=.tunetrail/before
put_back() {
    cp "$before/params.yaml" "$before/dvc.lock" .
    rm -r "$before"
    dvc checkout --quiet || true # outputs of the old parameters; what the cache lacks is made by the next dvc repro
}
if [ -d "$before" ]; then put_back; fi # an earlier run was killed
mkdir -p "$before"
cp params.yaml dvc.lock "$before/"
trap put_back EXIT
tunetrail compose "experiment=$name" "${@:2}"
rm -rf data/synthetic # what another experiment's method left there would be hashed with this one's
dvc repro
tunetrail summary
cp params.yaml dvc.lock "reports/$name/"
