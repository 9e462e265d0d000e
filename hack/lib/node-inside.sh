#!/usr/bin/env bash
# Third step of hack/node, and the node's first process: builds the node inside its namespaces, then becomes an init
# that runs the command. Descriptor 9 is the network namespace that the bridge is in.
set -euo pipefail

state=$GANTRY_NODE_STATE
name=$GANTRY_NODE_NAME
bridge=$GANTRY_NODE_BRIDGE
# The documentation ranges: no pod network is ever made of them.
subnet4=203.0.113 subnet6=2001:db8:1::
[ "$bridge" != uplink0 ] || subnet4=198.51.100 subnet6=2001:db8::

# Shared, because the engine's and the kubelet's mounts travel between them and into containers.
mount --make-rshared /

# --- cgroups: each hierarchy mounted again shows this node's group as its root
mount_cgroups() {
  local type target controllers
  # Of a hierarchy's mount options, what names its controllers.
  awk '$3 == "cgroup" || $3 == "cgroup2" {
    count = split($4, options, ","); named = ""
    for (i = 1; i <= count; i++)
      if (options[i] !~ /^(r[ow]|nosuid|nodev|noexec|relatime|noatime|xattr|clone_children|release_agent=.*)$/)
        named = named (named == "" ? "" : ",") options[i]
    print $3, $2, named
  }' /proc/self/mounts | sort -u >"$state/cgroups"
  umount --lazy --recursive /sys
  mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
  if ! grep -q '^cgroup ' "$state/cgroups"; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # Only a group without processes hands controllers down.
    mkdir /sys/fs/cgroup/init.scope
    echo 1 >/sys/fs/cgroup/init.scope/cgroup.procs
    sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
    return
  fi
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs /sys/fs/cgroup
  while read -r type target controllers; do
    mkdir -p "$target"
    case $type:$controllers in
      cgroup2:*) mount -t cgroup2 cgroup2 "$target" ;;
      cgroup:name=*) mount -t cgroup -o "none,$controllers" cgroup "$target" ;;
      cgroup:*) mount -t cgroup -o "$controllers" cgroup "$target" ;;
    esac
  done <"$state/cgroups"
}

# --- files: what a node changes is its own; what it keeps lies on a real file system (an overlay's upper directory
# may not lie on an overlay)
private_view() {
  local path=$1 key=${1//\//_}
  [ -d "$path" ] || return 0
  mkdir -p "$state/$key.upper" "$state/$key.work"
  mount -t overlay -o "lowerdir=$path,upperdir=$state/$key.upper,workdir=$state/$key.work" overlay "$path"
}

fresh_directory() {
  local path=$1 key=${1//\//_}
  mkdir -p "$path" "$state/$key"
  mount --bind "$state/$key" "$path"
}

mount_files() {
  local path
  for path in /etc /opt /var/lib /var/log; do private_view "$path"; done
  # A copy of a mount of the machine's own engine would hold that mount for as long as the node lives.
  if mountpoint -q /run; then umount --lazy --recursive /run; fi
  mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
  mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
  mkdir -p /run/lock /run/netns
  for path in /var/lib/gantry /var/lib/cni /var/lib/kubelet /var/log/pods /etc/cni/net.d /run/tmp; do
    fresh_directory "$path"
  done
  chmod 1777 /run/tmp
}

# --- network
in_segment() { nsenter --net=/proc/self/fd/9 -- "$@"; }

open_bridge() {
  in_segment ip link show dev "$bridge" >/dev/null 2>&1 || in_segment ip link add "$bridge" type bridge 2>/dev/null || true
  in_segment ip addr add "${subnet4}.1/24" dev "$bridge" 2>/dev/null || true
  in_segment ip addr add "${subnet6}1/64" dev "$bridge" nodad 2>/dev/null || true
  in_segment ip link set lo up
  in_segment ip link set "$bridge" up
}

plug_in() {
  local number=11
  # The name of the far end is the reservation of the address: two nodes that start at once cannot both have it.
  until ip link add eth0 type veth peer name "$bridge.$number" netns /proc/self/fd/9 2>"$state/link-error"; do
    grep -q 'File exists' "$state/link-error" || { cat "$state/link-error" >&2 && exit 1; }
    number=$((number + 1))
    [ "$number" -lt 255 ] || { echo "node: no address is left on $bridge" >&2 && exit 1; }
  done
  in_segment ip link set "$bridge.$number" master "$bridge" up
  : "${GANTRY_NODE_ADDRESS:=${subnet4}.$number/24}"
  ip link set lo up
  ip addr add "$GANTRY_NODE_ADDRESS" dev eth0
  ip addr add "${subnet6}$number/64" dev eth0 nodad
  ip link set eth0 up
  ip route add default via "${subnet4}.1"
  ip -6 route add default via "${subnet6}1"
}

name_node() {
  hostname "$name"
  printf '%s\n' "$name" >/etc/hostname
  rm -f /etc/hosts /etc/resolv.conf
  printf '127.0.0.1 localhost\n::1 localhost\n%s %s\n' "${GANTRY_NODE_ADDRESS%/*}" "$name" >/etc/hosts
  # Nobody listens there, and it says so at once: a silent name server costs every client its time-out.
  printf 'nameserver %s\noptions attempts:1 timeout:1\n' "${subnet4}.1" >/etc/resolv.conf
}

mount_cgroups
mount_files
open_bridge
plug_in
name_node

export TMPDIR=/run/tmp GANTRY_TEST_HOST=node
unset GANTRY_NODE_STATE GANTRY_NODE_GROUP GANTRY_NODE_BRIDGE
exec 9<&-
exec catatonit -- "$@"
