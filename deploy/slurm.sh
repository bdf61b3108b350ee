#!/usr/bin/env bash
# Runs one experiment as a SLURM job, in a clone of its own; all jobs share one DVC cache. See docs/guides/scale.md.
#   export TUNETRAIL_SHARED=/scratch/$USER/tunetrail        a folder that every node sees
#   sbatch -W deploy/slurm.sh lora.r=16                     waits for the end; without -W it returns at once
# A job that is requeued continues in its clone: finished stages come from the cache, a training from its last checkpoint.
#SBATCH --job-name=tunetrail
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=tunetrail-%j.log
set -euo pipefail
: "${TUNETRAIL_SHARED:?set it to a folder that every node sees}"
origin=${SLURM_SUBMIT_DIR:?submit this script with sbatch}
clone=$TUNETRAIL_SHARED/jobs/${SLURM_JOB_ID:?}
name=job-$SLURM_JOB_ID

if [ ! -d "$clone" ]; then # a job that was requeued has one
    rm -rf "$clone.part"
    git clone --quiet "$origin" "$clone.part"
    mv "$clone.part" "$clone"
fi
cd "$clone"
export PATH=$origin/.venv/bin:$PATH PYTHONPATH=$clone TUNETRAIL_CACHE=${TUNETRAIL_CACHE:-$TUNETRAIL_SHARED/models}
dvc cache dir --local "$TUNETRAIL_SHARED/dvc-cache"

changes=()
for change in "$@"; do changes+=(-S "$change"); done
dvc exp run --name "$name" "${changes[@]}"
dvc exp push --no-cache origin "$name" # to the clone that submitted it, whose cache is the same folder
