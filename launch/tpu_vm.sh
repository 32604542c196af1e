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

fail() {
  echo "tpu_vm.sh: $*" >&2
  exit 2
}

say() { echo "tpu_vm.sh: $*"; }

original=("$@")
name=${JSSL_TPU_NAME-} zone=${JSSL_TPU_ZONE-} type=${JSSL_TPU_TYPE-} version=${JSSL_TPU_VERSION-}
project=${JSSL_TPU_PROJECT-} workdir=${JSSL_WORKDIR-}
spot=false repo='' ref='' retries=5 poll=60 worker=0 detach=false delete_at_end=false dry_run=false

command=${1-}
case $command in
  --help | -h | help) usage; exit ;;
  create | setup | run | watch | logs | status | stop | delete) shift ;;
  '') fail "the command is missing: create, setup, run, watch, logs, status, stop or delete; see --help" ;;
  *) fail "unknown command $command; see --help" ;;
esac
while (($# > 0)); do
  case $1 in
    --help | -h) usage; exit ;;
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --workdir=*) workdir=${1#*=} ;;
    --spot) spot=true ;;
    --repo=*) repo=${1#*=} ;;
    --ref=*) ref=${1#*=} ;;
    --retries=*) retries=${1#*=} ;;
    --poll=*) poll=${1#*=} ;;
    --worker=*) worker=${1#*=} ;;
    --detach) detach=true ;;
    --delete) delete_at_end=true ;;
    --dry-run) dry_run=true ;;
    --) shift; break ;;
    *) fail "unknown option $1; flags of jssl.main come after --; see --help" ;;
  esac
  shift
done
flags=("$@")

needs() { # VALUE WORDS OPTION VARIABLE
  [[ -n $1 ]] || fail "$2 is missing: give $3=... or set $4"
}
needs "$name" "the name of the TPU" --name JSSL_TPU_NAME
needs "$zone" "the zone" --zone JSSL_TPU_ZONE
if [[ $command == create || $command == watch ]]; then
  needs "$type" "the accelerator type" --type JSSL_TPU_TYPE
  needs "$version" "the runtime version" --version JSSL_TPU_VERSION
fi
if [[ $command == run || $command == watch ]]; then
  needs "$workdir" "the workdir" --workdir JSSL_WORKDIR
  [[ $workdir == gs://* ]] || fail "--workdir=$workdir must begin with gs://: the disks of a TPU go with it"
  [[ " ${flags[*]-} " == *" --config="* ]] || fail "--config=... is missing after --"
  [[ " ${flags[*]-} " != *" --workdir"* ]] || fail "--workdir belongs before --: what is after it would win"
fi
[[ -z $ref || -n $repo ]] || fail "--ref needs --repo"
for number in "$retries" "$poll"; do
  [[ $number =~ ^[0-9]+$ ]] || fail "--retries and --poll take numbers, not $number"
done

cd "$(dirname "$0")/.."
place=("--zone=$zone")
[[ -z $project ]] || place+=("--project=$project")

call() {
  if $dry_run; then
    echo "${*@Q}"
  else
    "$@"
  fi
}

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

# What became of the run on a worker: none, running, dead (the machine was restarted), ended STATUS or stopped.
read -r -d '' REPORT <<'TEXT' || true
state=$(cat ~/jssl.state 2>/dev/null || echo none)
if [ "$state" = running ] && ! kill -0 "$(cat ~/jssl.pid)" 2>/dev/null; then state=dead; fi
echo "$state"
TEXT

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
  on_workers all "if [ -f ~/jssl.pid ] && kill -0 \"\$(cat ~/jssl.pid)\" 2>/dev/null; then echo 'a run is going on: stop it first'; exit 2; fi; cd ~/jssl && { nohup setsid launch/retry.sh --state=\"\$HOME/jssl.state\" $retries $words >>~/jssl.log 2>&1 </dev/null & echo \$! >~/jssl.pid; }"
}

remove() { tpu queued-resources delete "$name" "${place[@]}" --force --quiet; }

end() { # STATUS WORDS
  say "$2"
  if $delete_at_end; then
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
    ! $delete_at_end || remove
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
    report=$(on_workers 0 "$REPORT" 2>/dev/null | tail -n 1) || report=unreachable
    case $report in
      none)
        say "setting up the workers"
        if setup && run; then
          say "the run has started; its log: launch/tpu_vm.sh logs --name=$name ${place[*]}"
          failures=0
          continue
        fi
        report=unreachable
        ;;
      dead) run || report=unreachable ;;
      'ended 0') end 0 "the run has ended; it is in $workdir" ;;
      'ended '*) end "${report#ended }" "the run failed with exit status ${report#ended }; see: launch/tpu_vm.sh logs --name=$name ${place[*]}" ;;
      stopped) end 0 "the run was stopped; the same command goes on with it" ;;
      running) failures=0 ;;
      *) report=unreachable ;;
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
