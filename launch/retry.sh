#!/usr/bin/env bash
# Runs a command again when it fails for a passing reason; see --help.
set -uo pipefail

usage() {
  cat <<'TEXT'
launch/retry.sh [--pause=SECONDS] [--state=FILE] [--dry-run] TIMES COMMAND...

Runs COMMAND, and again, up to TIMES more, when it fails. Exit status 0 (done) and 2 (the user's mistake, which stays one)
end it at once. SIGTERM goes on to the command, which saves, and is the end, too.

  --pause    seconds before another try (default 15)
  --state    a file that says `running`, then `ended STATUS` or `stopped`
  --dry-run  print the command instead
TEXT
}

fail() {
  echo "retry.sh: $*" >&2
  exit 2
}

pause=15 state=/dev/null dry_run=false
while [[ ${1-} == -* ]]; do
  case $1 in
    --help | -h) usage; exit ;;
    --pause=*) pause=${1#*=} ;;
    --state=*) state=${1#*=} ;;
    --dry-run) dry_run=true ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift
done
[[ $pause =~ ^[0-9]+$ ]] || fail "--pause=$pause must be a number of seconds"
{ : >>"$state"; } 2>/dev/null || fail "--state=$state cannot be written"
[[ ${1-} =~ ^[0-9]+$ ]] || fail "the number of times is missing; see --help"
times=$1
shift
(($# > 0)) || fail "the command is missing; see --help"
if $dry_run; then
  echo "${*@Q}"
  exit
fi

child='' stopped=false interrupted=false
stop() {
  stopped=true interrupted=true
  [[ -z $child ]] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM

end() {
  echo "$1" >"$state"
  exit "$2"
}

echo running >"$state"
for ((attempt = 0; ; attempt++)); do
  $stopped && end stopped 0
  "$@" &
  child=$!
  ! $stopped || kill -TERM "$child" 2>/dev/null # between the two lines above
  while :; do # a signal ends `wait` before the command ends
    interrupted=false
    wait "$child"
    status=$?
    $interrupted || break
  done
  $stopped && end stopped "$status"
  ((status == 0 || status == 2 || attempt >= times)) && end "ended $status" "$status"
  echo "retry.sh: exit status $status; try $((attempt + 1)) of $times in $pause s" >&2
  sleep "$pause" &
  child=$!
  wait "$child"
done
