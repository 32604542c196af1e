#!/usr/bin/env bash
# N processes of one run on this machine; see --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
launch/local.sh [--dry-run] [--logs=FOLDER] N --config=... [--workdir=...] [...]

Starts N processes of `python -m jssl.main` on this machine and waits for them. Process 0 prints here, the others into
FOLDER/process-K.log (default: a new temporary folder). If one fails, the others are ended, too. Ctrl-C and SIGTERM let the
run save and stop.

  N          how many processes; the batch must divide by all of their devices
  --logs     where the output of processes 1 to N-1 goes
  --dry-run  print the commands instead of running them

Environment: PYTHON (default: python). The devices of a process are yours to choose, for example
JAX_NUM_CPU_DEVICES=2. One process drives all GPUs of a machine by itself and needs no launcher.
TEXT
}

fail() {
  echo "local.sh: $*" >&2
  exit 2
}

dry_run=false logs=''
while [[ ${1-} == -* ]]; do
  case $1 in
    --help | -h) usage; exit ;;
    --dry-run) dry_run=true ;;
    --logs=*) logs=${1#*=} ;;
    *) fail "unknown option $1 before the number of processes; see --help" ;;
  esac
  shift
done
[[ ${1-} =~ ^[1-9][0-9]*$ ]] || fail "the number of processes is missing: launch/local.sh 2 --config=...; see --help"
count=$1
shift
[[ " $*" == *" --config="* ]] || fail "--config=... is missing; see --help"

python=${PYTHON:-python}
if $dry_run; then
  port=PORT
else
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  logs=${logs:-$(mktemp -d -t jssl-XXXXXX)}
  mkdir -p "$logs"
fi
export JSSL_COORDINATOR=127.0.0.1:$port JSSL_NUM_PROCESSES=$count

processes=()
for ((number = 0; number < count; number++)); do
  if $dry_run; then
    echo "JSSL_COORDINATOR=$JSSL_COORDINATOR JSSL_NUM_PROCESSES=$count JSSL_PROCESS_ID=$number" \
      "$python -m jssl.main ${*@Q}"
  elif ((number == 0)); then
    JSSL_PROCESS_ID=0 "$python" -m jssl.main "$@" &
    processes+=($!)
  else
    JSSL_PROCESS_ID=$number "$python" -m jssl.main "$@" >"$logs/process-$number.log" 2>&1 &
    processes+=($!)
  fi
done
$dry_run && exit

trap 'kill -TERM "${processes[@]}" 2>/dev/null || true' TERM INT
trap 'kill -KILL "${processes[@]}" 2>/dev/null || true' EXIT

failed() { # NUMBER STATUS
  echo "local.sh: process $1 ended with status $2; the logs of the others are in $logs" >&2
}

status=0 deadline=''
while [[ -n $(jobs -rp) && (-z $deadline || $SECONDS -lt $deadline) ]]; do
  sleep 0.2
  if ((status == 0)); then
    for number in "${!processes[@]}"; do
      kill -0 "${processes[number]}" 2>/dev/null && continue
      wait "${processes[number]}" || status=$?
      ((status == 0)) && continue
      failed "$number" "$status"
      deadline=$((SECONDS + 45)) # by then they have noticed by themselves
      break
    done
  fi
done
for number in "${!processes[@]}"; do
  ((status == 0)) || break
  wait "${processes[number]}" || status=$?
  ((status == 0)) || failed "$number" "$status"
done
exit "$status"
