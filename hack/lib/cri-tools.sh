#!/usr/bin/env bash
# Builds crictl and critest from their Go module, pinned, and prints the folder that they lie in: for machines that have
# none on PATH. What is on PATH may be newer; critest then has more specs.
set -euo pipefail
# shellcheck source=shell.sh
. "${BASH_SOURCE[0]%/*}/shell.sh"

version=v1.36.0
export PATH=$PATH:/usr/local/go/bin GOFLAGS=-mod=readonly GOTOOLCHAIN=local CGO_ENABLED=0
command -v go >/dev/null || die "Go is missing (1.26 or later, https://go.dev/dl): it builds crictl and critest"

# The digest that critest pulls an image by is that of an upstream image; ours has another one.
digest=$(grep -o "sha256:[0-9a-f]\{64\}" "$GANTRY_ROOT/hack/lib/test-images/digest-image.ts")

bin=$GANTRY_CACHE/cri-tools/$version-${digest:7:12}
mkdir -p "$bin"
exec 8>"$bin/lock"
flock 8
if [ ! -x "$bin/critest" ]; then
  say "building crictl and critest $version (a minute, once)"
  work=$(mktemp -d)
  trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
  cd "$work"
  source=$(go mod download -json "sigs.k8s.io/cri-tools@$version" | sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p')
  # A module of the cache takes no overlay.
  cp -r "$source" source
  chmod -R u+w source
  cd source
  sed -i "s/\(test-image-digest@\)sha256:[0-9a-f]*/\1$digest/" pkg/validate/consts.go
  flags=(-p 2 -trimpath -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=${version#v}")
  nice go build "${flags[@]}" -o "$work/crictl" ./cmd/crictl
  nice go test -c "${flags[@]}" -o "$work/critest" ./cmd/critest
  mv "$work/crictl" "$work/critest" "$bin"
fi
printf '%s\n' "$bin"
