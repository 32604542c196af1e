#!/usr/bin/env bash
# A run on Cloud TPU VMs, all workers at once; see --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
launch/tpu_vm.sh COMMAND [OPTION...] [-- FLAGS OF jssl.main]

  create   ask for the TPU (a queued resource) and wait until it is there
  setup    copy the code to all workers and install it
  run      start the run on all workers, detached; --workdir decides whether it starts or goes on
  watch    all of these, and again from the start whenever the TPU is preempted, until the run has ended
  logs     follow the log of a worker
  status   the state of the TPU and of the run on every worker
  stop     SIGTERM to the run, which saves and ends
  delete   give the TPU back: only this ends the costs

Options, or the environment:
  --name=NAME        JSSL_TPU_NAME      of the queued resource and of the TPU
  --zone=ZONE        JSSL_TPU_ZONE
  --type=TYPE        JSSL_TPU_TYPE      accelerator type, such as v5litepod-16        (create, watch)
  --version=VERSION  JSSL_TPU_VERSION   runtime, such as v2-alpha-tpuv5-lite          (create, watch)
  --workdir=gs://... JSSL_WORKDIR       the run's folder                              (run, watch)
  --project=PROJECT  JSSL_TPU_PROJECT   default: that of gcloud's configuration
  --spot                                cheaper, and may be taken away at any time    (create, watch)
  --repo=URL --ref=REF                  install this instead of the local checkout    (setup, watch)
  --retries=N                           starts again after passing failures; default 5
  --poll=SECONDS                        between looks at the state; default 60
  --worker=N                            whose log; default 0                          (logs)
  --detach                              go on in the background, log in NAME.watch.log (watch)
  --delete                              delete the TPU when the run has ended         (watch)
  --dry-run                             print the commands instead of running them

Example:
  launch/tpu_vm.sh watch --name=mine --zone=us-west4-a --type=v5litepod-16 --version=v2-alpha-tpuv5-lite --spot \
    --workdir=gs://bucket/run --delete -- --config=configs/simclr.py:imagenet
TEXT
}

# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

say() { echo "tpu_vm.sh: $*"; }

original=("$@")
name=${JSSL_TPU_NAME-} zone=${JSSL_TPU_ZONE-} type=${JSSL_TPU_TYPE-} version=${JSSL_TPU_VERSION-}
project=${JSSL_TPU_PROJECT-} workdir=${JSSL_WORKDIR-}
spot=false repo='' ref='' retries=5 poll=60 worker=0 detach=false delete=false dry_run=false

command=${1-}
case $command in
  --help | -h | help) usage; exit ;;
  create | setup | run | watch | logs | status | stop | delete) shift ;;
  '') fail "the command is missing: create, setup, run, watch, logs, status, stop or delete; see --help" ;;
  *) fail "unknown command $command; see --help" ;;
esac
parse "name zone type version project workdir repo ref retries poll worker" "spot detach delete dry_run" "$@"

needs "$name" "the name of the TPU" --name JSSL_TPU_NAME
needs "$zone" "the zone" --zone JSSL_TPU_ZONE
if [[ $command == create || $command == watch ]]; then
  needs "$type" "the accelerator type" --type JSSL_TPU_TYPE
  needs "$version" "the runtime version" --version JSSL_TPU_VERSION
fi
[[ $command != run && $command != watch ]] || needs_run "the disks of a TPU go with it"
[[ -z $ref || -n $repo ]] || fail "--ref needs --repo"
needs_number --retries "$retries" 0
needs_number --poll "$poll" 1
needs_number --worker "$worker" 0

cd "$(dirname "$0")/.."
place=("--zone=$zone")
[[ -z $project ]] || place+=("--project=$project")

tpu() { call gcloud compute tpus "$@"; }

on_workers() { # WORKER COMMAND
  tpu tpu-vm ssh "$name" "${place[@]}" "--worker=$1" "--command=$2"
}

ask() { # DESCRIBE COMMAND: a state, NONE, or UNKNOWN if the question failed
  local answer
  if answer=$(gcloud compute tpus "$@" "${place[@]}" 2>&1); then
    tail -n 1 <<<"$answer"
  elif [[ $answer == *NOT_FOUND* || $answer == *'not found'* ]]; then
    echo NONE
  else
    echo "$answer" >&2
    echo UNKNOWN
  fi
}

resource_state() { ask queued-resources describe "$name" '--format=value(state.state)'; }

node_state() { ask tpu-vm describe "$name" '--format=value(state)'; }

# What became of the run on a worker: none, running, dead (the machine was restarted), stopped or ended STATUS.
read -r -d '' REPORT <<'TEXT' || true
state=$(cat ~/jssl.state 2>/dev/null || echo none)
if [ "$state" = running ] && ! kill -0 "$(cat ~/jssl.pid)" 2>/dev/null; then state=dead; fi
echo "$state"
TEXT

# What became of the run on all workers. They fail and end together, so what some of them say holds for all: a worker that
# lost its disk (none) or its process (dead) before one that goes on, and that before those that are done.
report() {
  local answer words
  answer=$(on_workers all "$REPORT" 2>/dev/null) || answer=''
  for words in none dead 'ended [1-9][0-9]*' running stopped 'ended 0'; do
    ! grep --extended-regexp --max-count=1 --line-regexp "$words" <<<"$answer" || return 0
  done
  echo unreachable
}

# Ends what is left of a run, and waits until it has.
# shellcheck disable=SC2016 # the workers' words, not ours
HALT='pid=$(cat ~/jssl.pid 2>/dev/null) && kill -TERM "$pid" 2>/dev/null && for i in $(seq 120); do kill -0 "$pid" 2>/dev/null || break; sleep 1; done; true'

create() {
  local tier=()
  ! $spot || tier=(--spot)
  tpu queued-resources create "$name" "--node-id=$name" "${place[@]}" "--accelerator-type=$type" \
    "--runtime-version=$version" "${tier[@]}" --quiet
}

wait_until_active() {
  local state
  while ! $dry_run; do
    state=$(resource_state)
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED | NONE)
        say "the TPU is $state; see: gcloud compute tpus queued-resources describe $name ${place[*]}" >&2
        return 1
        ;;
    esac
    say "the TPU is $state"
    sleep "$poll"
  done
}

setup() {
  if [[ -n $repo ]]; then
    on_workers all "rm -rf ~/jssl && git clone --quiet $(printf %q "$repo") ~/jssl && cd ~/jssl && git checkout --quiet $(printf %q "${ref:-HEAD}")" || return
  else
    local archive=jssl.tgz
    if ! $dry_run; then
      archive=$(mktemp -t jssl-XXXXXX.tgz)
      git ls-files -z --cached --others --exclude-standard | tar --create --gzip --null --files-from=- --file="$archive"
    fi
    tpu tpu-vm scp "$archive" "$name:jssl.tgz" "${place[@]}" --worker=all || return
    $dry_run || rm -f "$archive"
    on_workers all 'rm -rf ~/jssl && mkdir ~/jssl && tar --extract --gzip --file ~/jssl.tgz --directory ~/jssl' || return
  fi
  # The Python of the runtime may be older than ours: uv brings its own.
  on_workers all "cd ~/jssl && python3 -m pip install --quiet --user uv && ~/.local/bin/uv venv --quiet --python 3.11 .venv && ~/.local/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable '.[tpu,gcs]'" || return
  on_workers all 'rm -f ~/jssl.state ~/jssl.pid'
}

run() {
  local words
  words=$(printf '%q ' .venv/bin/python -m jssl.main --coordinator=auto "--workdir=$workdir" "${flags[@]}")
  on_workers all "if [ -f ~/jssl.pid ] && kill -0 \"\$(cat ~/jssl.pid)\" 2>/dev/null; then echo 'a run is going on: stop it first'; exit 2; fi; cd ~/jssl && echo running >~/jssl.state && { nohup setsid launch/retry.sh --state=\"\$HOME/jssl.state\" $retries $words >>~/jssl.log 2>&1 </dev/null & echo \$! >~/jssl.pid; }"
}

remove() { tpu queued-resources delete "$name" "${place[@]}" --force --quiet; }

end() { # STATUS WORDS
  say "$2"
  if $delete; then
    remove
  else
    say "the TPU still costs money: launch/tpu_vm.sh delete --name=$name ${place[*]}"
  fi
  exit "$1"
}

# One look, one action: so it may be stopped and started again at any time.
watch() {
  if $dry_run; then
    create
    setup
    run
    ! $delete || remove
    return
  fi
  local state report failures=0
  while :; do
    state=$(resource_state)
    if [[ $state == ACTIVE ]]; then
      case $(node_state) in
        PREEMPTED | TERMINATED | NONE) state=PREEMPTED ;;
      esac
    fi
    case $state in
      NONE)
        say "asking for the TPU"
        if ! create; then
          ((++failures <= retries)) || end 1 "the TPU could not be asked for, $failures times in a row"
          sleep "$poll"
        fi
        continue
        ;;
      PREEMPTED | SUSPENDED | FAILED)
        say "the TPU is $state: it is deleted and asked for again"
        remove || say "it could not be deleted; another try in $poll s"
        sleep "$poll"
        continue
        ;;
      ACTIVE) ;;
      *)
        say "the TPU is $state"
        sleep "$poll"
        continue
        ;;
    esac
    report=$(report)
    case $report in
      none)
        say "setting up the workers"
        if on_workers all "$HALT" && setup && run; then
          say "the run has started; its log: launch/tpu_vm.sh logs --name=$name ${place[*]}"
          failures=0
        else
          report=unreachable
        fi
        ;;
      dead) { on_workers all "$HALT" && run; } || report=unreachable ;;
      'ended 0') end 0 "the run has ended; it is in $workdir" ;;
      'ended '*) end "${report#ended }" "the run failed with exit status ${report#ended }; see: launch/tpu_vm.sh logs --name=$name ${place[*]}" ;;
      stopped) end 0 "the run was stopped; the same command goes on with it" ;;
      running) failures=0 ;;
    esac
    if [[ $report == unreachable ]]; then
      ((++failures <= retries)) || end 1 "the workers could not be reached or set up, $failures times in a row"
      say "the workers cannot be reached or set up; another try in $poll s"
    fi
    sleep "$poll"
  done
}

case $command in
  create) create && wait_until_active ;;
  setup) setup ;;
  run) run ;;
  watch)
    if $detach && [[ -z ${JSSL_DETACHED-} ]] && ! $dry_run; then
      cd "$OLDPWD"
      JSSL_DETACHED=1 nohup "$BASH" "$0" "${original[@]}" >>"$name.watch.log" 2>&1 </dev/null &
      echo "watching as process $!, log in $name.watch.log; this machine must stay on"
    else
      watch
    fi
    ;;
  logs) on_workers "$worker" 'tail -n 100 -F ~/jssl.log' ;;
  status)
    if $dry_run; then
      tpu queued-resources describe "$name" "${place[@]}" '--format=value(state.state)'
      tpu tpu-vm describe "$name" "${place[@]}" '--format=value(state)'
    else
      state=$(resource_state)
      echo "queued resource: $state"
      [[ $state == ACTIVE ]] || exit 0
      echo "TPU: $(node_state)"
    fi
    on_workers all "$REPORT"
    ;;
  stop) on_workers all "kill -TERM \"\$(cat ~/jssl.pid)\"" ;;
  delete) remove ;;
esac
