# Read by hack/up and hack/down: daemons in the background that are found again by pid file.
# shellcheck shell=bash

GANTRY_DEMO=/var/lib/gantry-demo
# The pid files are as volatile as the processes.
GANTRY_DEMO_RUN=/run/gantry-demo

# The pid of a daemon that was started here and lives: a pid file whose process is another one by now means none.
daemon_pid() {
  local pid ticks
  read -r pid ticks 2>/dev/null <"$GANTRY_DEMO_RUN/$1.pid" || return 1
  [ -n "$ticks" ] && [ "$(start_ticks "$pid" || true)" = "$ticks" ] || return 1
  # A zombie has ended, whoever has yet to hear of it.
  ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null || return 1
  printf '%s\n' "$pid"
}

# start_daemon NAME COMMAND...: in a session of its own (Ctrl-C is not for it), its output in NAME.log. The process
# writes its pid file itself before it becomes the daemon, so that there is never one without.
start_daemon() {
  local name=$1
  shift
  mkdir -p "$GANTRY_DEMO_RUN"
  # shellcheck disable=SC2016
  setsid bash -c '. "$1"; printf "%s %s\n" $$ "$(start_ticks $$)" >"$2"; shift 2; exec "$@"' start \
    "$GANTRY_ROOT/hack/lib/shell.sh" "$GANTRY_DEMO_RUN/$name.pid" "$@" \
    >>"$GANTRY_DEMO/$name.log" 2>&1 </dev/null &
  disown
}

# stop_daemon NAME: asks, waits ten seconds, then insists.
stop_daemon() {
  local pid tries
  if pid=$(daemon_pid "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
      daemon_pid "$1" >/dev/null || break
      sleep 0.1
    done
    ! pid=$(daemon_pid "$1") || kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$GANTRY_DEMO_RUN/$1.pid"
}

# wait_for SECONDS WHAT DAEMON COMMAND...: until the command succeeds, the daemon has died, or time is up.
wait_for() {
  local seconds=$1 what=$2 name=$3 end
  shift 3
  end=$((SECONDS + seconds))
  # Its pid file appears a moment after the start.
  sleep 0.05
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ] || { sleep 0.2 && ! daemon_pid "$name" >/dev/null; }; then
      tail -n 20 "$GANTRY_DEMO/$name.log" >&2
      die "$what did not start: its log is $GANTRY_DEMO/$name.log"
    fi
  done
}

gantry() { "$GANTRY_ROOT/hack/gantry" "$@"; }
