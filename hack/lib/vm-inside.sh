#!/usr/bin/env bash
# Runs the command of hack/vm inside the VM, hands its exit status to the host and switches the machine off. It is the
# first process, or a unit of systemd's when that is (hack/vm --systemd).
set -uo pipefail

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
job=/run/gantry-vm

port() {
  local path
  for path in /sys/class/virtio-ports/*; do
    [ "$(<"$path/name")" != "$1" ] || printf '/dev/%s\n' "${path##*/}"
  done
}

# What systemd does on its own.
mount_kernel_filesystems() {
  mkdir -p /dev/pts /dev/shm /dev/mqueue
  mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
  mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
  mount -t mqueue mqueue /dev/mqueue
  ln -sf /proc/self/fd /dev/fd
  ln -sf fd/0 /dev/stdin
  ln -sf fd/1 /dev/stdout
  ln -sf fd/2 /dev/stderr
  mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
  sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
  mount -t securityfs securityfs /sys/kernel/security
  mount -t bpf bpf /sys/fs/bpf
  mount -t tracefs tracefs /sys/kernel/tracing
  mount --make-rshared /
}

# An address and a default route, as the kubelet wants them; there is nothing at the other end.
make_network() {
  ip link set lo up
  ip link add eth0 type dummy
  ip addr add 198.51.100.11/24 dev eth0
  ip addr add 2001:db8::11/64 dev eth0 nodad
  ip link set eth0 up
  ip route add default via 198.51.100.1
  ip -6 route add default via 2001:db8::1 dev eth0
}

run_command() {
  if [ -e "$job/terminal" ]; then
    setsid --ctty --wait bash "$job/command" <>/dev/hvc0 >&0 2>&1
    return
  fi
  local input=/dev/null
  [ ! -e "$job/input" ] || input=$(port gantry.stdin)
  bash "$job/command" <"$input" >"$(port gantry.stdout)" 2>"$(port gantry.stderr)"
}

[ $$ != 1 ] || mount_kernel_filesystems
# These are not loaded on demand, unlike the modules of links, firewalls and file systems.
modprobe --quiet --all br_netfilter loop
make_network
run_command
status=$?
sync
echo "exit $status" >"$(port gantry.status)"
exec busybox poweroff -f
