# Read by scripts that build a program from Debian's source.
# shellcheck shell=bash

mirror_of() { apt-get --print-uris download "$1" 2>/dev/null | sed -n "s|^'\(.*\)/pool/.*|\1|p" || true; }

# download_debian_source PACKAGE [RELEASE]: the source package's files, into the present folder, checked by apt's keys.
# The release is this machine's own, unless another one is named. The machine's lists of packages stay as they are.
download_debian_source() {
  local package=$1 release=${2:-} mirror apt
  # shellcheck source=/dev/null
  [ -n "$release" ] || release=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
  # The mirror that this machine's own packages come from; the machine may not have asked it yet.
  mirror=$(mirror_of base-files)
  if [ -z "$mirror" ]; then
    apt-get --quiet --quiet -o DPkg::Lock::Timeout=300 update
    mirror=$(mirror_of base-files)
  fi
  mkdir -p lists/partial archives/partial
  printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$release" >sources
  apt=(apt-get --quiet --quiet -o APT::Sandbox::User=root -o "Dir::Etc::sourcelist=$PWD/sources"
    -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$PWD/lists" -o "Dir::Cache=$PWD")
  "${apt[@]}" update
  "${apt[@]}" source --download-only --tar-only "$package"
}
