#!/usr/bin/env bash
# Makes what hack/vm boots, and prints its folder: `vmlinuz`, `initrd`, `modules` (the tree for /lib/modules), `config`.
#
# The kernel comes from Debian's backports by apt, through package lists of its own, so that nothing of this machine's
# apt configuration changes; it is unpacked, not installed. Where backports cannot be reached it is Debian 12's own.
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

vm_cache=$GANTRY_CACHE/vm
mkdir -p "$vm_cache"
exec 8>"$vm_cache/lock"
flock 8

# What the initramfs needs to reach the host's root and the disk; all else is loaded from the root itself.
boot_modules=(virtio_pci 9pnet_virtio 9p overlay virtio_blk ext4 virtio_rng)

private_apt() {
  local tool=$1
  shift
  "$tool" -o "Dir::Etc::sourcelist=$work/debian.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" \
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root "$@"
}

# The mirror and key that this machine has for Debian, with the suites that are asked for.
debian_sources() {
  local mirror
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n1)
  # Without package lists (a fresh container image), from the sources themselves.
  [ -n "$mirror" ] || mirror=$(sed -n 's|^URIs: *\([^ ]*/debian/\?\)$|\1|p; s|^deb .*\(https\?://[^ ]*/debian/\?\) .*|\1|p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n1)
  [ -n "$mirror" ] || die "found no Debian mirror in this machine's apt sources"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$1" \
    /usr/share/keyrings/debian-archive-keyring.gpg >"$work/debian.sources"
}

fetch_kernel() {
  local suite package
  for suite in bookworm-backports bookworm; do
    debian_sources "$suite"
    mkdir -p "$work/lists/partial"
    private_apt apt-get update --quiet >"$work/log" 2>&1 || continue
    package=$(private_apt apt-cache depends linux-image-amd64 2>>"$work/log" | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\)$/\1/p' | head -n1)
    [ -n "$package" ] || continue
    (cd "$work" && private_apt apt-get download --quiet "$package") >>"$work/log" 2>&1 || continue
    [ "$suite" = bookworm-backports ] ||
      say "vm: Debian's backports are out of reach; booting Debian 12's own kernel (idmapped tmpfs is missing there)"
    return 0
  done
  cat "$work/log" >&2
  die "could not download a kernel from Debian"
}

unpack_kernel() {
  dpkg-deb --extract "$work"/linux-image-*.deb "$work/root"
  local version
  version=$(basename "$work"/root/lib/modules/*)
  # depmod reads a modules tree below lib/ of its base folder.
  depmod --basedir "$work/root" "$version"
  mkdir -p "$work/kernel/lib"
  mv "$work/root/lib/modules" "$work/kernel/lib/modules"
  mv "$work/root/boot/vmlinuz-$version" "$work/kernel/vmlinuz"
  mv "$work/root/boot/config-$version" "$work/kernel/config"
  printf '%s' "$version" >"$work/kernel/version"
}

if [ ! -e "$vm_cache/kernel/version" ]; then
  work=$(mktemp -d "$vm_cache/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "vm: fetching a kernel from Debian"
  fetch_kernel
  unpack_kernel
  rm -rf "$vm_cache/kernel"
  mv "$work/kernel" "$vm_cache/kernel"
fi
kernel=$vm_cache/kernel

pack_initrd() {
  local tree version number=100 kind path
  tree=$(mktemp -d "$vm_cache/initrd.XXXXXX")
  version=$(cat "$kernel/version")
  mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/root"
  cp /bin/busybox "$tree/bin/busybox"
  cp "$GANTRY_ROOT/hack/lib/vm-init.sh" "$tree/init"
  # Numbered in the order in which they must be inserted, and unpacked: the initramfs has no modprobe.
  modprobe --dirname "$kernel" --set-version "$version" --show-depends --all "${boot_modules[@]}" |
    while read -r kind path _; do
      [ "$kind" = insmod ] || continue
      [ -z "$(find "$tree/modules" -name "*-$(basename "${path%.ko*}").ko")" ] || continue
      number=$((number + 1))
      case $path in
        *.xz) xz --decompress --stdout "$path" ;;
        *.zst) zstd --decompress --quiet --stdout "$path" ;;
        *) cat "$path" ;;
      esac >"$tree/modules/$number-$(basename "${path%.ko*}").ko"
    done
  (cd "$tree" && find . | cpio --quiet --create --format=newc --owner=0:0) >"$1.part"
  rm -rf "$tree"
  mv "$1.part" "$1"
}

initrd=$kernel/initrd-$(cat "${BASH_SOURCE[0]}" "$GANTRY_ROOT/hack/lib/vm-init.sh" /bin/busybox | sha256sum | cut -c1-16)
if [ ! -e "$initrd" ]; then
  rm -f "$kernel"/initrd-*
  pack_initrd "$initrd"
fi
ln -sfn "$(basename "$initrd")" "$kernel/initrd"
printf '%s\n' "$kernel"
