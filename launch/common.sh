# shellcheck shell=bash
# shellcheck disable=SC2154
# What the launchers of the cloud share; they source it, have a function `usage`, and set workdir and dry_run.

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

parse() { # "VALUES" "SWITCHES" ARGUMENT...: sets variables of these names, and `flags` to what follows --
  local values=" $1 " switches=" $2 " option
  shift 2
  flags=()
  while (($# > 0)); do
    option=${1%%=*} option=${option#--} option=${option//-/_}
    case $1 in
      --help | -h) usage; exit ;;
      --) shift; flags=("$@"); return ;;
      --*=*) [[ $values == *" $option "* ]] && printf -v "$option" %s "${1#*=}" ;;
      --*) [[ $switches == *" $option "* ]] && printf -v "$option" true ;;
      *) false ;;
    esac || fail "unknown option $1; flags of jssl.main come after --; see --help"
    shift
  done
}

needs() { # VALUE WORDS OPTION VARIABLE
  [[ -n $1 ]] || fail "$2 is missing: give $3=... or set $4"
}

needs_number() { # OPTION VALUE LEAST
  if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || (($2 < $3)); then fail "$1=$2 must be a whole number, at least $3"; fi
}

needs_run() { # REASON: what a run in the cloud needs
  needs "$workdir" "the workdir" --workdir JSSL_WORKDIR
  [[ $workdir == gs://* ]] || fail "--workdir=$workdir must begin with gs://: $1"
  [[ " ${flags[*]-} " == *" --config="* ]] || fail "--config=... is missing after --"
  [[ " ${flags[*]-} " != *" --workdir"* ]] || fail "--workdir belongs before --: what is after it would win"
}

call() {
  if $dry_run; then
    echo "${*@Q}"
  else
    "$@"
  fi
}
