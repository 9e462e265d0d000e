#!/usr/bin/env bash
# Builds a newer OCI runtime than Debian 12 has, pinned, and prints its path: what the older ones cannot do yet is tested
# with these.
#
#   hack/lib/oci-runtime.sh crun|runc
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

runc_version=v1.5.1
crun_version=1.21 crun_release=trixie
export PATH=$PATH:/usr/local/go/bin GOTOOLCHAIN=local
require_root

build_runc() {
  command -v go >/dev/null || die "Go is missing (1.26 or later, https://go.dev/dl): it builds runc"
  GOBIN=$1 nice go install -p 2 -trimpath -tags seccomp -ldflags '-s -w' "github.com/opencontainers/runc@$runc_version"
}

# From the source package of the next Debian release, which holds apt's keys for it.
build_crun() {
  set -e
  cd "$1"
  # shellcheck source=debian-source.sh
  . "$GANTRY_ROOT/hack/lib/debian-source.sh"
  download_debian_source crun "$crun_release"
  mkdir source
  tar --extract --file "crun_$crun_version.orig.tar."* --directory source --strip-components 1
  cd source
  ./configure --quiet
  # What the rest includes is generated first: its Makefile does not say so for each file.
  make git-version.h
  nice make --jobs "$(nproc)" --directory libocispec libocispec.la
  nice make --jobs "$(nproc)" crun
  mv crun ..
}

name=${1:-}
case $name in
  runc) version=$runc_version ;;
  crun) version=$crun_version ;;
  *) die "no runtime is called '$name' (crun, runc)" ;;
esac
bin=$GANTRY_CACHE/oci-runtimes/$version
mkdir -p "$bin"
exec 8>"$bin/lock"
flock 8
if [ ! -x "$bin/$name" ]; then
  "$GANTRY_ROOT/hack/install-packages" runtimes
  say "building $name $version (a minute, once)"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  # In a shell of its own: bash forgets `set -e` where the status of a function is asked for.
  export -f "build_$name" say die
  export runc_version crun_version crun_release
  bash -euo pipefail -c '"$@"' build "build_$name" "$work" >"$work/log" 2>&1 8>&- ||
    { tail -n 30 "$work/log" >&2 && die "$name could not be built"; }
  mv "$work/$name" "$bin/$name"
fi
printf '%s\n' "$bin/$name"
