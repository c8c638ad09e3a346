#!/usr/bin/env bash
# One campaign as a Slurm job array: task I of the array is shard I.
#
#   sbatch --array=0-7 sim/cluster/slurm.sh 8 REPORTS --seeds 0..1000000     # 8 shards; what follows goes to `sim run`
#   target/release/sim merge REPORTS
#
# * The number of shards is said, not taken from the array: the array of a shard that comes again has one task.
# * REPORTS is a folder that all nodes see. A report appears whole, when its shard ends; a task that was killed leaves none.
#   `sim merge` names the shards without a report; `sbatch --array=3,5 ...`, all else the same, runs them again.
# * A task whose node died is put back by Slurm (--requeue). It starts anew and gives the same report.
# * All tasks run the same program, $SIM or target/release/sim in the folder of the submission; `sim merge` refuses others.
# * A task's exit code is that of `sim run`: a task that found something has FAILED, with its report and its tape written.
#
#SBATCH --job-name=sim
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sim-%A-%a.log
set -euo pipefail

if (($# < 2)); then
    echo "usage: sbatch --array=0-LAST $0 SHARDS REPORTS [OPTIONS OF sim run]" >&2
    exit 1
fi
shards=$1 reports=$2
shift 2
exec "${SIM:-target/release/sim}" run --shard "$SLURM_ARRAY_TASK_ID/$shards" --report "$reports" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --json "$@"
