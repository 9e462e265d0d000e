#!/bin/busybox sh
# shellcheck shell=dash
# First process of the initramfs of hack/vm: mounts the host's root (9p, read-only) below a tmpfs, the data disk, and
# what both ways of booting need, then becomes the command's init or systemd. What it is told stands on the kernel's
# command line: gantry.job (a folder of the host), gantry.repository, gantry.init (the next init), gantry.probe (only say
# that it boots).
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

argument() { tr ' ' '\n' </proc/cmdline | sed -n "s|^gantry\.$1=||p"; }

port() {
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" != "$1" ] || echo "/dev/${port##*/}"
  done
}

give_up() {
  echo "gantry-vm: $*" >/dev/console
  poweroff -f
}

for module in /modules/*; do insmod "$module" || give_up "cannot load $module"; done

if [ -n "$(argument probe)" ]; then
  echo up >"$(port gantry.status)"
  poweroff -f
fi

mkdir /lower /writable
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host /lower || give_up "no root from the host"
mount -t tmpfs -o mode=755,size=50% tmpfs /writable
mkdir /writable/upper /writable/work
mount -t overlay -o lowerdir=/lower,upperdir=/writable/upper,workdir=/writable/work overlay /root || give_up "no overlay"

job=$(argument job)
kernel=$(argument kernel)
mkdir -p /root/lib/modules /root/boot
ln -sfn "$kernel/lib/modules/$(uname -r)" "/root/lib/modules/$(uname -r)"
ln -sfn "$kernel/config" "/root/boot/config-$(uname -r)"

# The same for both inits: what is volatile, then what the disk keeps over a loss of power.
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /root/run
mkdir -p /root/run/lock /root/run/netns /root/run/gantry-vm
cp -r "/lower$job/." /root/run/gantry-vm
mkdir -p /root/run/systemd
[ ! -d /root/run/gantry-vm/units ] || cp -r /root/run/gantry-vm/units /root/run/systemd/system
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /root/tmp
# A repository below one of the folders that are hidden so is shown again.
repository=$(argument repository)
if [ ! -e "/root$repository/hack/vm" ]; then
  mkdir -p "/root$repository" /writable/repository.upper /writable/repository.work
  mount -t overlay -o "lowerdir=/lower$repository,upperdir=/writable/repository.upper,workdir=/writable/repository.work" \
    overlay "/root$repository" || give_up "cannot show $repository"
fi
mkdir /disk
mount -t ext4 -o relatime /dev/vda /disk || give_up "cannot mount the data disk"
for path in /var/lib/gantry /var/lib/cni /var/lib/kubelet /var/log /var/tmp; do
  mkdir -p "/disk$path" "/root$path"
  mount --bind "/disk$path" "/root$path"
done
chmod 1777 /root/var/tmp

rm -f /root/etc/hosts /root/etc/resolv.conf /root/etc/hostname /root/etc/fstab
# The mark of a machine that is a container itself: systemd would heed no kernel argument.
rm -f /root/.dockerenv
tr -d - </proc/sys/kernel/random/uuid >/root/etc/machine-id
echo vm >/root/etc/hostname
hostname vm
printf '127.0.0.1 localhost\n::1 localhost\n198.51.100.11 vm\n' >/root/etc/hosts
# Nobody listens there, and it says so at once: a silent name server costs every client its time-out.
printf 'nameserver 198.51.100.11\noptions attempts:1 timeout:1\n' >/root/etc/resolv.conf
rm -rf /root/etc/cni/net.d/*

echo up >"$(port gantry.status)"
next=$(argument init)
umount /proc
mount --move /sys /root/sys
mount --move /dev /root/dev
mount -t proc proc /root/proc
exec switch_root /root "$next"
