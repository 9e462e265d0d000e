#!/usr/bin/env bash
# Prints the path of a CRIU that works with this machine's kernel: Debian's, or, where that is older than the kernel that
# it has to know (the vDSO of Linux 6.13 and later), the next release's, built from its source package, pinned and cached.
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

version=4.1.1 release=trixie
require_root

# Its word counts more than its version: distributions carry fixes back.
if criu=$(command -v criu) && "$criu" check >/dev/null 2>&1; then
  printf '%s\n' "$criu"
  exit 0
fi

build_criu() {
  cd "$1"
  # shellcheck source=debian-source.sh
  . "$GANTRY_ROOT/hack/lib/debian-source.sh"
  download_debian_source criu "$release"
  mkdir source
  tar --extract --file "criu_$version.orig.tar.xz" --directory source --strip-components 1
  nice make --jobs "$(nproc)" --directory source criu
  strip -o criu source/criu/criu
}

bin=$GANTRY_CACHE/criu/$version
mkdir -p "$bin"
exec 8>"$bin/lock"
flock 8
if [ ! -x "$bin/criu" ]; then
  "$GANTRY_ROOT/hack/install-packages" criu
  say "building CRIU $version (a minute, once)"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  # In a shell of its own: bash forgets `set -e` where the status of a function is asked for.
  export -f build_criu say die
  export version release
  bash -euo pipefail -c 'build_criu "$1"' build "$work" >"$work/log" 2>&1 8>&- ||
    { tail -n 30 "$work/log" >&2 && die "CRIU could not be built"; }
  mv "$work/criu" "$bin/criu"
fi
"$bin/criu" check >/dev/null 2>&1 || die "CRIU $version does not work with this kernel: $("$bin/criu" check 2>&1 | tail -n 2)"
printf '%s\n' "$bin/criu"
