#!/usr/bin/env bash
# Prints the path of the test's plugin (test/e2e/nri-plugin), built on NRI's own library from its Go module, pinned there,
# and cached: the end-to-end tests prove with it that real plugins are understood.
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

export PATH=$PATH:/usr/local/go/bin
export GOFLAGS=-mod=readonly GOTOOLCHAIN=local
command -v go >/dev/null || die "Go is missing (1.26 or later, https://go.dev/dl): it builds the plugin of the tests"

cd "$GANTRY_ROOT/test/e2e/nri-plugin"
bin=$GANTRY_CACHE/nri-plugin/$(cat go.sum main.go | sha256sum | cut -c1-12)
mkdir -p "$bin"
exec 8>"$bin/lock"
flock 8
if [ ! -x "$bin/nri-plugin" ]; then
  say "building the NRI plugin of the tests"
  # A name of its own until it is whole.
  CGO_ENABLED=0 nice go build -p 2 -trimpath -ldflags '-s -w' -o "$bin/nri-plugin.part" .
  mv "$bin/nri-plugin.part" "$bin/nri-plugin"
fi
printf '%s\n' "$bin/nri-plugin"
