# Read by scripts that run one of Kubernetes' suites.
# shellcheck shell=bash

# suite_in_vm NAME LOGS [VM-OPTION...] -- SCRIPT [ARG...]: runs the script's second half in a VM, with a `--logs` of its own
# there, and brings what it wrote into LOGS/NAME. Its status is the script's.
suite_in_vm() {
  local inside=/var/log/$1 logs=$2 disk=$2/disk status=0 vm=()
  shift 2
  while [ "$1" != -- ]; do vm+=("$1") && shift; done
  shift
  # Node strips types by WebAssembly, which emulated processors sometimes break while it is being optimised.
  hack/vm "${vm[@]}" --disk "$disk" node --liftoff-only "$@" "--logs=$inside" || status=$?
  # What the VM wrote stays on its disk; one that was switched off has left its last in the journal.
  e2fsck -p "$disk" >/dev/null 2>&1 || true
  debugfs -R "rdump $inside $logs" "$disk" 2>/dev/null || true
  rm -f "$disk"
  say "logs of the VM: $logs/${inside##*/}"
  return "$status"
}
