# Read by the scripts of hack/: where the repository and the cache are, and how a script speaks.
# shellcheck shell=bash

here=${BASH_SOURCE[0]%/*}
GANTRY_ROOT=$(cd "$here/../.." && pwd)
GANTRY_CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gantry
export GANTRY_ROOT GANTRY_CACHE
unset here

# Progress goes to stderr: stdout belongs to what the script was asked for.
say() { printf '%s\n' "$*" >&2; }

die() {
  say "${0##*/}: $*"
  exit 1
}

require_root() {
  [ "$(id -u)" = 0 ] || die "must be run as root (it makes namespaces, mounts and links)"
}

# The moment in which a process started, in ticks since boot. With the pid it names one process for ever:
# a pid alone may have been given to another one.
start_ticks() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The command's name, in parentheses, may hold spaces: count from behind it.
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  printf '%s\n' "${20}"
}

# The rest of a usage text: the script's own head comment, from its second line to the first that is none.
usage() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; }

# Ends a script that was called wrongly: names the word that it does not know, if it was one, and shows what it knows.
refuse() {
  [ -z "${1:-}" ] || say "${0##*/}: unknown argument: $1"
  usage >&2
  exit 2
}
