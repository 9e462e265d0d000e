#!/usr/bin/env bash
# Builds busybox as test images want it and prints its path: static, every applet a program of its own. Debian's binaries
# lack some (ipcs, pgrep, nmeter), and their shell runs applets without asking the file system. The source is the one
# of the Debian release that runs here, checked by apt's keys; the result lies in the cache folder.
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

bin=$GANTRY_CACHE/busybox
program=$bin/busybox
mkdir -p "$bin"
exec 8>"$bin/lock"
flock 8
if [ ! -x "$program" ]; then
  require_root
  "$GANTRY_ROOT/hack/install-packages" images
  say "building busybox from Debian's source (a minute, once)"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  cd "$work"
  # shellcheck source=debian-source.sh
  . "$GANTRY_ROOT/hack/lib/debian-source.sh"
  download_debian_source busybox >"$work/log" 2>&1 8>&- || { tail -n 20 "$work/log" >&2 && die "no source of busybox"; }
  mkdir source
  tar --extract --file busybox_*.orig.tar.* --directory source --strip-components 1
  cd source
  # Without the time of the build in it, the same compiler makes the same program.
  export KCONFIG_NOTIMESTAMP=1 SOURCE_DATE_EPOCH=0
  {
    make defconfig
    sed -i 's/^# CONFIG_STATIC is not set/CONFIG_STATIC=y/' .config
    nice make --jobs "$(nproc)" busybox
  } >"$work/log" 2>&1 8>&- || { tail -n 20 "$work/log" >&2 && die "busybox could not be built"; }
  cp busybox "$program.part"
  mv "$program.part" "$program"
fi
printf '%s\n' "$program"
