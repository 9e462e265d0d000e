#!/usr/bin/env bash
# Builds containerd and its shim from their Go module, pinned, and prints the folder that they lie in: the peer that
# conformance results and the benchmark compare with.
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

version=v2.3.4
export PATH=$PATH:/usr/local/go/bin GOTOOLCHAIN=local
command -v go >/dev/null || die "Go is missing (1.26 or later, https://go.dev/dl): it builds containerd"

bin=$GANTRY_CACHE/containerd/$version
mkdir -p "$bin"
exec 8>"$bin/lock"
flock 8
if [ ! -x "$bin/containerd" ]; then
  say "building containerd $version (a minute, the first time)"
  part=$(mktemp -d "$bin/part.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  for program in containerd-shim-runc-v2 containerd; do
    GOBIN=$part CGO_ENABLED=0 nice go install -p 2 -trimpath -ldflags '-s -w' "github.com/containerd/containerd/v2/cmd/$program@$version"
    mv "$part/$program" "$bin/$program"
  done
fi
printf '%s\n' "$bin"
