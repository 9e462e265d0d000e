#!/usr/bin/env bash
# Second step of hack/node: enters the node's cgroups, keeps hold of the network namespace that the bridge is in, and
# makes the node's own namespaces.
set -euo pipefail

awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts | sort -u | while read -r hierarchy; do
  echo $$ >"$hierarchy/$GANTRY_NODE_GROUP/cgroup.procs"
done

exec 9</proc/self/ns/net
exec unshare --mount --pid --cgroup --net --uts --ipc --fork --kill-child --mount-proc \
  "${BASH_SOURCE[0]%/*}/node-inside.sh" "$@"
