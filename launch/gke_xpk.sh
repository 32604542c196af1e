#!/usr/bin/env bash
# A run on GKE by xpk; see --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
launch/gke_xpk.sh run|status|delete [OPTION...] [-- FLAGS OF jssl.main]

  run      start the run as a workload of a cluster that xpk made; the same command again goes on with it
  status   the workloads of the cluster
  delete   end the workload; the cluster stays, and goes on costing

Options, or the environment:
  --name=NAME        JSSL_GKE_NAME      of the workload
  --cluster=CLUSTER  JSSL_GKE_CLUSTER
  --zone=ZONE        JSSL_TPU_ZONE
  --type=TYPE        JSSL_TPU_TYPE      such as v5litepod-16                      (run)
  --workdir=gs://... JSSL_WORKDIR       the run's folder                          (run)
  --project=PROJECT  JSSL_TPU_PROJECT   default: that of gcloud's configuration
  --slices=N                            default 1                                 (run)
  --image=IMAGE                         with Python 3.11 or newer; default python:3.11. The checkout is added to it  (run)
  --restarts=N                          after preemptions; default 100            (run)
  --retries=N                           after passing failures; default 5         (run)
  --dry-run                             print the command instead of running it

Example:
  launch/gke_xpk.sh run --name=mine --cluster=ours --zone=us-west4-a --type=v5litepod-16 --workdir=gs://bucket/run \
    -- --config=configs/simclr.py:imagenet
TEXT
}

# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

name=${JSSL_GKE_NAME-} cluster=${JSSL_GKE_CLUSTER-} zone=${JSSL_TPU_ZONE-} type=${JSSL_TPU_TYPE-}
project=${JSSL_TPU_PROJECT-} workdir=${JSSL_WORKDIR-}
slices=1 image=python:3.11 restarts=100 retries=5 dry_run=false

command=${1-}
case $command in
  --help | -h | help) usage; exit ;;
  run | status | delete) shift ;;
  '') fail "the command is missing: run, status or delete; see --help" ;;
  *) fail "unknown command $command; see --help" ;;
esac
parse "name cluster zone type project workdir slices image restarts retries" "dry_run" "$@"

needs "$cluster" "the cluster" --cluster JSSL_GKE_CLUSTER
needs "$zone" "the zone" --zone JSSL_TPU_ZONE
[[ $command == status ]] || needs "$name" "the name of the workload" --name JSSL_GKE_NAME
if [[ $command == run ]]; then
  needs "$type" "the TPU type" --type JSSL_TPU_TYPE
  needs_run "the disk of a pod goes with it"
  needs_number --slices "$slices" 1
  needs_number --restarts "$restarts" 0
  needs_number --retries "$retries" 0
fi

cd "$(dirname "$0")/.."
place=("--cluster=$cluster" "--zone=$zone")
[[ -z $project ]] || place+=("--project=$project")

case $command in
  run)
    words=$(printf '%q ' python -m jssl.main --coordinator=auto "--workdir=$workdir" "${flags[@]}")
    call xpk workload create "--workload=$name" "${place[@]}" "--tpu-type=$type" "--num-slices=$slices" \
      "--base-docker-image=$image" --script-dir=. "--max-restarts=$restarts" --termination-grace-period-seconds=120 \
      "--command=pip install --quiet --constraint constraints.txt --editable '.[tpu,gcs]' && exec launch/retry.sh $retries $words"
    ;;
  status) call xpk workload list "${place[@]}" ;;
  delete) call xpk workload delete "--workload=$name" "${place[@]}" --force ;;
esac
